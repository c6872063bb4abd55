"""The quality model: KL and damage of a policy, from what its actions cost alone and what was measured of policies.

Actions hurt more together than alone (on the embedded model a policy of summed KL .017 has KL .28), but how much more
depends mostly on the sum. So for a policy with S = Σ exp(η)·x over its actions, x the KL of each alone, both log KL
and log damage (damage: −log of the share of the original's COMET that is kept) are curves in log S. η is the
log-multiplier of an action's cost in a policy relative to alone: one number for each unit, drop and trim, and a
smaller one for each unit at each level. All have Gaussian priors; curves are linearised at the current mean, and every
measured KL or COMET is one row of an exact Gaussian posterior (posterior.py). At a fixed size the allocator needs only
exp(η)·x; the curves turn it into forecasts. Each suggestion draws from the posterior, so parallel suggestions differ
(Thompson sampling).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.sampling.posterior import GaussianPosterior
from search.space.allocate import ActionCosts
from search.space.space import Choice, Space

WORST = 0.03  # shares of the original's score below this are not told apart
FLOOR = 0.005  # damages below are noise of the metric
PIVOT = float(np.log(1e-3))  # of log S: the curves' constants are their values there
# Prior of the curves: KL = exp(a + b·s + c·s²) and damage = exp(d + e·s), s = log S − PIVOT
CURVE_MEAN = np.array([PIVOT, 1.4, 0.0, -5.0, 1.2])
CURVE_SPREAD = np.array([0.7, 0.4, 0.05, 1.0, 0.4])
CURVES = len(CURVE_MEAN)
UNIT_SPREAD, VARIANT_SPREAD = 0.6, 0.4  # prior spread of η: of a unit, drop or trim, and of a unit at one level
KL_NOISE, DAMAGE_NOISE = 0.05, 0.15  # of a log KL and of a log damage around their curves
SATURATED_KL, SATURATED_DAMAGE = 2.0, 1.2  # beyond these all outputs are useless, and measurements say little
LEAST = 1e-7  # nats
MEMORY = 400  # measurements that are used, the newest
REFIT = 1.3  # curves are linearised again whenever the measurements have grown by this factor
PASSES = 3


def observed_damage(comet: float, original: float) -> float:
    """Damage of a score: −log of the share of the original's COMET."""
    return -float(np.log(max(comet / max(original, 1e-9), WORST)))


@dataclass(frozen=True)
class Measurement:
    """A measured policy: the logarithm of its KL or damage, and the standard deviation of that."""

    choice: Choice
    log_value: float
    noise: float
    of_kl: bool


class QualityModel:
    """Gaussian model of curves and η, updated by `learn_kl` and `learn`."""

    def __init__(self, space: Space, sensitivities: ActionCosts) -> None:
        self.space = space
        self.sensitivities = sensitivities
        self.units, self.layers, levels = len(space.units), len(space.layers), len(space.levels)
        trims = len(space.vocabularies) if len(space.vocabularies) > 1 else 0  # a single one has nothing to learn
        self._trims = CURVES + self.units + self.layers  # where the η of vocabularies begin
        self._variants = self._trims + trims  # and those of units at levels
        size = self._variants + self.units * levels
        self._prior_mean = np.concatenate([CURVE_MEAN, np.zeros(size - CURVES)])
        variance = np.full(size, UNIT_SPREAD**2)
        variance[:CURVES] = CURVE_SPREAD**2
        variance[self._variants :] = VARIANT_SPREAD**2
        self._spread = np.sqrt(variance)
        self._mean = self._prior_mean.copy()  # as of the last refit
        self.measurements: list[Measurement] = []
        self._posterior = GaussianPosterior(self._prior_mean, self._spread, capacity=int(MEMORY * REFIT) + 2)
        self._linearised = 4  # how many measurements there were when the curves were linearised last

    # Learning

    def learn_kl(self, choice: Choice, kl: float) -> None:
        """A measured KL to the original."""
        if np.isfinite(kl) and kl > 0:
            noise = KL_NOISE + 0.5 * max(float(np.log(kl / SATURATED_KL)), 0.0)
            self._add(Measurement(choice, float(np.log(max(kl, LEAST))), noise, of_kl=True))

    def learn(self, choice: Choice, damage: float) -> None:
        """A scored candidate's damage."""
        floored = max(damage, 0.0) + FLOOR
        # the metric's own variance counts more where there is little damage
        noise = DAMAGE_NOISE + FLOOR / floored + 0.5 * max(damage - SATURATED_DAMAGE, 0.0)
        self._add(Measurement(choice, float(np.log(floored)), noise, of_kl=False))

    def _add(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        if len(self.measurements) >= REFIT * self._linearised or len(self.measurements) > MEMORY * REFIT:
            self.measurements = self.measurements[-MEMORY:]
            self._linearised = len(self.measurements)
            for _ in range(PASSES):
                rows, residuals = zip(*(self._row(each) for each in self.measurements), strict=True)
                noise = np.array([each.noise for each in self.measurements])
                self._posterior.set(np.array(rows), np.array(residuals), noise)
                self._refit()
        else:
            self._posterior.add(*self._row(measurement), measurement.noise)

    def _row(self, measurement: Measurement) -> tuple[np.ndarray, float]:
        """The posterior's row and residual of a measurement, linearised at the last mean."""
        value, slope = self._linear(measurement.choice, measurement.of_kl)
        residual = measurement.log_value - value + float(slope @ (self._mean - self._prior_mean))
        return slope * self._spread, residual

    def _refit(self) -> None:
        """Takes the posterior's mean. Left until a forecast or draw needs it: a candidate brings a KL and a score."""
        self._mean = self._posterior.mean()

    def _linear(self, choice: Choice, of_kl: bool) -> tuple[float, np.ndarray]:
        """The curve's value at the last mean, and its gradient in the whole state."""
        rows = np.arange(self.units)
        curve = self._mean[:CURVES]
        costs = self._costs(self._mean)
        present = self.space.present(choice)
        of_units = np.where(present, costs.levels[rows, choice.columns], 0.0)
        of_drops = np.where(choice.dropped, costs.drops, 0.0)
        of_trim = costs.trims[choice.vocabulary]
        total = max(float(of_units.sum() + of_drops.sum() + of_trim), LEAST)
        s = np.log(total) - PIVOT
        slope = np.zeros(len(self._mean))
        if of_kl:
            slope[:3] = 1.0, s, s * s
            steepness = curve[1] + 2 * curve[2] * s
        else:
            slope[3:5] = 1.0, s
            steepness = curve[4]
        value = float(slope[:CURVES] @ curve)
        steepness = max(steepness, 0.3) / total
        slope[CURVES : CURVES + self.units] = steepness * of_units
        slope[CURVES + self.units : self._trims] = steepness * of_drops
        if self._variants > self._trims:
            slope[self._trims + choice.vocabulary] = steepness * of_trim
        slope[self._variants + rows * len(self.space.levels) + choice.columns] = steepness * of_units
        return value, slope

    def _costs(self, state: np.ndarray) -> ActionCosts:
        """exp(η)·x of every action."""
        variants = state[self._variants :].reshape(self.units, -1)
        of_units = np.clip(state[CURVES : CURVES + self.units, None] + variants, -6.0, 6.0)
        of_drops = np.clip(state[CURVES + self.units : self._trims], -6.0, 6.0)
        of_trims = np.clip(state[self._trims : self._variants], -6.0, 6.0) if self._variants > self._trims else 0.0
        alone = self.sensitivities
        return ActionCosts(
            np.exp(of_units) * alone.levels, np.exp(of_drops) * alone.drops, np.exp(of_trims) * alone.trims
        )

    # Forecasts

    def expect_log_kl(self, choice: Choice) -> float:
        """The expected log KL of a choice."""
        self._refit()
        return self._linear(choice, of_kl=True)[0]

    def expect(self, choice: Choice) -> float:
        """The expected damage of a choice."""
        self._refit()
        return float(max(np.exp(self._linear(choice, of_kl=False)[0]) - FLOOR, 0.0))

    def draw(self, generator: np.random.Generator, spread: float = 1.0) -> ActionCosts:
        """Costs of every action under one draw from the posterior; `spread` multiplies its deviation from the mean."""
        self._refit()
        costs = self._costs(self._posterior.draw(generator, spread) if spread > 0 else self._mean)
        return ActionCosts(costs.levels, np.where(self.space.droppable, costs.drops, np.inf), costs.trims)
