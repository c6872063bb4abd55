"""What each action is believed to cost, and how quality_model changes with every measured candidate.

Treatments hurt more together than alone (on the embedded model a policy of summed KL .017 has KL .28), but how much
more depends mostly on the sum. So for a candidate with S = Σ exp(η)·x over its actions, x the KL of each alone,
both log KL and log damage (damage: −log of the share of the original's COMET that is kept) are taken as a curve in
log S. η, what a action costs in company relative to alone, is one number for each unit, drop and trim (is this unit
worth more than it seemed?) and a smaller one for each unit at each level (did this variant's rounding errors fall
well?). All have Gaussian priors; curves are linearised at the present mean, and every measured KL or COMET is then
one row of an exact Gaussian posterior, computed in as many dimensions as there are measurements. For a given size the
allocator needs only exp(η)·x; the curves turn it into forecasts. Draws from the posterior make parallel suggestions
differ by themselves (Thompson).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from search.space.allocate import Damage
from search.space.space import Choice, Space

WORST = 0.03  # shares of the original's score below this are all the same wreck
FLOOR = 0.005  # damages below are noise of the metric
PIVOT = float(np.log(1e-3))  # of log S: the curves' constants are what holds there
# Prior of the curves: KL = exp(a + b·s + c·s²) and damage = exp(d + e·s), s = log S − PIVOT
CURVE_MEAN = np.array([PIVOT, 1.4, 0.0, -5.0, 1.2])
CURVE_SPREAD = np.array([0.7, 0.4, 0.05, 1.0, 0.4])
CURVES = len(CURVE_MEAN)
UNIT_SPREAD, VARIANT_SPREAD = 0.6, 0.4  # prior spread of η: of a unit, drop or trim, and of a unit at one level
KL_NOISE, DAMAGE_NOISE = 0.05, 0.15  # of a log KL and of a log damage round their curves
SATURATED_KL, SATURATED_DAMAGE = 2.0, 1.2  # beyond these all outputs are wrecks and tell little
LEAST = 1e-7  # nats
MEMORY = 400  # measurements that are used at once, the newest
REFIT = 1.3  # curves are linearised again whenever there are so many times more measurements
PASSES = 3


def observed(comet: float, original: float) -> float:
    """Damage of a score: −log of what is left of the original's."""
    return -float(np.log(max(comet / max(original, 1e-9), WORST)))


@dataclass(frozen=True)
class Sensitivities:
    """Measured or modelled KL (nats a token) of every action alone."""

    levels: np.ndarray  # [unit, level]
    drops: np.ndarray  # [layer]
    trims: np.ndarray = field(default_factory=lambda: np.zeros(1))  # [vocabulary], 0 for the whole one


@dataclass(frozen=True)
class Measured:
    """A measured candidate: its actions, the logarithm of what was measured, and how far that may be off."""

    choice: Choice
    y: float
    noise: float
    of_kl: bool


class QualityModel:
    """Gaussian quality_model over curves and η, sharpened by `learn_kl` and `learn`."""

    def __init__(self, space: Space, sensitivities: Sensitivities) -> None:
        self.space = space
        self.sensitivities = sensitivities
        self.units, self.layers, levels = len(space.units), len(space.layers), len(space.levels)
        trims = len(space.vocabularies) if len(space.vocabularies) > 1 else 0  # without a choice there is none to learn
        self._trims = CURVES + self.units + self.layers  # where the η of vocabularies begin
        self._own = self._trims + trims  # and those of units at levels
        size = self._own + self.units * levels
        self._prior_mean = np.concatenate([CURVE_MEAN, np.zeros(size - CURVES)])
        variance = np.full(size, UNIT_SPREAD**2)
        variance[:CURVES] = CURVE_SPREAD**2
        variance[self._own :] = VARIANT_SPREAD**2
        self._spread = np.sqrt(variance)
        self._mean = self._prior_mean.copy()
        self.seen: list[Measured] = []
        room = int(MEMORY * REFIT) + 2
        self._count = 0  # of the measurements that the next three hold
        self._rows = np.zeros((room, size))  # the linearised curves' gradients, in units of the prior's spread
        self._rests = np.zeros(room)  # what was measured less what the prior's mean gives
        self._products = np.zeros((room, room))  # rows · rows, and the noise on the diagonal
        self._factor: Any = None  # Cholesky's, of as much of it as is used
        self._linearised = 4

    # Learning

    def learn_kl(self, choice: Choice, kl: float) -> None:
        """A measured KL to the original."""
        if np.isfinite(kl) and kl > 0:
            noise = KL_NOISE + 0.5 * max(float(np.log(kl / SATURATED_KL)), 0.0)
            self._see(Measured(choice, float(np.log(max(kl, LEAST))), noise, of_kl=True))

    def learn(self, choice: Choice, damage: float) -> None:
        """A scored candidate's damage."""
        kept = max(damage, 0.0) + FLOOR
        # what the metric itself varies by weighs more where there is little damage
        noise = DAMAGE_NOISE + FLOOR / kept + 0.5 * max(damage - SATURATED_DAMAGE, 0.0)
        self._see(Measured(choice, float(np.log(kept)), noise, of_kl=False))

    def _see(self, measured: Measured) -> None:
        self.seen.append(measured)
        if len(self.seen) >= REFIT * self._linearised or len(self.seen) > MEMORY * REFIT:
            self.seen = self.seen[-MEMORY:]
            self._linearised = len(self.seen)
            for _ in range(PASSES):
                self._linearise()
                self._settle()
        else:
            self._add(measured)

    def _linearise(self) -> None:
        """All that is remembered anew, at the present mean."""
        self._count = len(self.seen)
        for at, each in enumerate(self.seen):
            self._rows[at], self._rests[at] = self._row(each)
        rows, noises = self._rows[: self._count], [each.noise for each in self.seen]
        self._products[: self._count, : self._count] = rows @ rows.T + np.diag(np.square(noises))
        self._factor = None

    def _add(self, measured: Measured) -> None:
        """One more, at the mean that was settled last."""
        at = self._count
        self._rows[at], self._rests[at] = self._row(measured)
        products = self._rows[: at + 1] @ self._rows[at]
        self._products[at, : at + 1] = products
        self._products[: at + 1, at] = products
        self._products[at, at] += measured.noise**2
        self._count += 1
        self._factor = None

    def _row(self, measured: Measured) -> tuple[np.ndarray, float]:
        value, slope = self._linear(measured.choice, measured.of_kl)
        return slope * self._spread, measured.y - value + float(slope @ (self._mean - self._prior_mean))

    def _settle(self) -> None:
        """The posterior's mean from everything added; nothing to do if nothing was since. Left until it is asked for:
        a candidate brings a KL and a score."""
        if self._factor is None and self._count:
            self._factor = cho_factor(self._products[: self._count, : self._count], check_finite=False)
            self._mean = self._posterior(np.zeros_like(self._mean), np.zeros(self._count))

    def _posterior(self, start: np.ndarray, jitter: np.ndarray) -> np.ndarray:
        """The mean for start 0; a draw for a start drawn from a standard normal (Matheron's rule)."""
        if not self._count:
            return self._prior_mean + self._spread * start
        rows = self._rows[: self._count]
        noise = np.array([each.noise for each in self.seen])
        rest = self._rests[: self._count] - rows @ start - noise * jitter
        pull = cho_solve(self._factor, rest, check_finite=False)
        return self._prior_mean + self._spread * (start + pull @ rows)

    def _linear(self, choice: Choice, of_kl: bool) -> tuple[float, np.ndarray]:
        """The curve's value under the present mean, and its gradient in everything believed."""
        rows = np.arange(self.units)
        curve = self._mean[:CURVES]
        weighed = self._weighed(self._mean)
        present = self.space.present(choice)
        of_units = np.where(present, weighed[0][rows, choice.columns], 0.0)
        of_drops = np.where(choice.dropped, weighed[1], 0.0)
        of_trim = weighed[2][choice.vocabulary]
        total = max(float(of_units.sum() + of_drops.sum() + of_trim), LEAST)
        s = np.log(total) - PIVOT
        slope = np.zeros(len(self._mean))
        if of_kl:
            slope[:3] = 1.0, s, s * s
            steep = curve[1] + 2 * curve[2] * s
        else:
            slope[3:5] = 1.0, s
            steep = curve[4]
        value = float(slope[:CURVES] @ curve)
        steep = max(steep, 0.3) / total
        slope[CURVES : CURVES + self.units] = steep * of_units
        slope[CURVES + self.units : self._trims] = steep * of_drops
        if self._own > self._trims:
            slope[self._trims + choice.vocabulary] = steep * of_trim
        slope[self._own + rows * len(self.space.levels) + choice.columns] = steep * of_units
        return value, slope

    def _weighed(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """exp(η)·x of every level [unit, level], of every drop [layer] and of every trim [vocabulary]."""
        own = state[self._own :].reshape(self.units, -1)
        of_units = np.clip(state[CURVES : CURVES + self.units, None] + own, -6.0, 6.0)
        of_drops = np.clip(state[CURVES + self.units : self._trims], -6.0, 6.0)
        of_trims = np.clip(state[self._trims : self._own], -6.0, 6.0) if self._own > self._trims else 0.0
        known = self.sensitivities
        return np.exp(of_units) * known.levels, np.exp(of_drops) * known.drops, np.exp(of_trims) * known.trims

    # Forecasts

    def expect_log_kl(self, choice: Choice) -> float:
        self._settle()
        return self._linear(choice, of_kl=True)[0]

    def expect(self, choice: Choice) -> float:
        """The damage expected of a choice."""
        self._settle()
        return float(max(np.exp(self._linear(choice, of_kl=False)[0]) - FLOOR, 0.0))

    def draw(self, generator: np.random.Generator, spread: float = 1.0) -> Damage:
        """What every action adds to S under one draw from the posterior (its mean for spread 0)."""
        self._settle()
        state = self._mean
        if spread > 0:
            start = spread * generator.standard_normal(len(state))
            state = self._posterior(start, spread * generator.standard_normal(self._count))
        levels, drops, trims = self._weighed(state)
        return Damage(levels, np.where(self.space.droppable, drops, np.inf), trims)
