"""What each treatment is believed to cost, and how belief changes with every scored candidate.

A candidate's damage is −log of the share of the original's COMET it keeps, which adds up where separate injuries
multiply. It is modelled as Σ θ_f · x_f over features f: one for each unit and one for each drop, x the measured
sensitivity (KL when only this is treated so). θ has a Gaussian prior of mean g (how KL turns into COMET for this
model) with a part shared by all features and a part of their own (where this feature differs), so that few
candidates teach the scale and many teach the differences. The posterior is exact linear algebra in as many
dimensions as there are features; a draw from it makes parallel suggestions differ by themselves (Thompson).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.allocate import Damage
from search.space import Choice, Space

WORST = 0.03  # shares of the original's score below this are all the same wreck
SHARED, OWN = 0.5, 1.0  # prior spread of θ relative to g: of all features together, and of each for itself
NOISE, RELATIVE_NOISE = 0.005, 0.1  # of an observed damage: a floor, and growing with the damage
SATURATED = 1.2  # beyond this damage (30 % of the score left) scores flatten out and tell little about θ
LEAST = 0.05  # θ is never believed below this share of its mean: no treatment is free


def observed(comet: float, original: float) -> float:
    """Damage of a score: −log of what is left of the original's."""
    return -float(np.log(max(comet / max(original, 1e-9), WORST)))


def noise(damage: float) -> float:
    """Spread of an observed damage round the model's: a floor, a share, and much more where scores flatten out."""
    return NOISE + RELATIVE_NOISE * max(damage, 0.0) + 3.0 * max(damage - SATURATED, 0.0)


@dataclass(frozen=True)
class Sensitivities:
    """Measured or modelled KL (nats a token) of every treatment alone."""

    levels: np.ndarray  # [unit, level]
    drops: np.ndarray  # [layer]


class Belief:
    """Gaussian belief over θ, sharpened by `learn`.

    The scale g (damage per nat of KL) is the weighted least-squares slope of what was observed, 1 before anything
    was; the prior is relative to it: θ ~ N(g, g²·(SHARED²·11ᵀ + OWN²·I)).
    """

    def __init__(self, space: Space, sensitivities: Sensitivities) -> None:
        self.space = space
        self.sensitivities = sensitivities
        count = len(space.units) + len(space.layers)
        self._prior = np.linalg.inv(SHARED**2 * np.ones((count, count)) + OWN**2 * np.eye(count))
        self._seen = np.zeros((count, count))  # Σ w·x·xᵀ
        self._pull = np.zeros(count)  # Σ w·y·x
        self._slope = [0.0, 0.0]  # Σ w·y·s and Σ w·s², s = Σ x
        self.learnt = 0

    def features(self, choice: Choice) -> np.ndarray:
        rows = np.arange(len(self.space.units))
        units = np.where(self.space.present(choice), self.sensitivities.levels[rows, choice.columns], 0.0)
        drops = np.where(choice.dropped, self.sensitivities.drops, 0.0)
        return np.concatenate([units, drops])

    def learn(self, choice: Choice, damage: float) -> None:
        """One scored candidate: a rank-one update."""
        x = self.features(choice)
        weight = 1.0 / noise(damage) ** 2
        self._seen = self._seen + weight * np.outer(x, x)
        self._pull = self._pull + weight * damage * x
        self._slope[0] += weight * damage * x.sum()
        self._slope[1] += weight * x.sum() ** 2
        self.learnt += 1

    @property
    def scale(self) -> float:
        """g: damage per nat."""
        along, across = self._slope
        return max(along / across, 1e-3) if across > 0 else 1.0

    def _posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and precision of θ."""
        prior = self._prior / self.scale**2
        precision = prior + self._seen
        return np.linalg.solve(precision, prior.sum(axis=1) * self.scale + self._pull), precision

    def mean(self) -> np.ndarray:
        return self._posterior()[0]

    def expect(self, choice: Choice) -> float:
        """The damage expected of a choice."""
        return float(self.features(choice) @ self._floored(self.mean()))

    def draw(self, generator: np.random.Generator, spread: float = 1.0) -> Damage:
        """Damage of every treatment under one θ drawn from the posterior (its mean for spread 0)."""
        mean, precision = self._posterior()
        theta = mean
        if spread > 0:
            # θ = mean + L⁻ᵀ z has covariance (L Lᵀ)⁻¹ = precision⁻¹
            factor = np.linalg.cholesky(precision)
            theta = mean + spread * np.linalg.solve(factor.T, generator.standard_normal(len(mean)))
        theta = self._floored(theta)
        units = len(self.space.units)
        drops = np.where(self.space.droppable, theta[units:] * self.sensitivities.drops, np.inf)
        return Damage(theta[:units, None] * self.sensitivities.levels, drops)

    def _floored(self, theta: np.ndarray) -> np.ndarray:
        """θ kept above a small share of its usual size."""
        usual = max(float(np.median(theta)), 1e-6)
        return np.maximum(theta, LEAST * usual)
