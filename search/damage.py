"""What each treatment is believed to cost, and how belief changes with every scored candidate.

A candidate's damage is −log of the share of the original's COMET it keeps, which adds up where separate injuries
multiply. It is modelled as Σ θ_f · x_f over features f: one for each unit and one for each drop, x the measured
sensitivity (KL when only this is treated so). θ has a Gaussian prior of mean g with a part shared by all features
(how KL turns into COMET for this model) and a part of their own (where this feature differs), so that few
candidates teach the scale and many teach the differences. The posterior is exact linear algebra in as many
dimensions as there are features; a draw from it makes parallel suggestions differ by themselves (Thompson).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.allocate import Damage
from search.space import Choice, Space

WORST = 0.03  # shares of the original's score below this are all the same wreck
SHARED, OWN = 1.5, 0.6  # prior spread of θ, relative to its mean
NOISE, RELATIVE_NOISE = 0.01, 0.2  # of an observed damage: a floor, and growing with the damage
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
    """Gaussian belief over θ, sharpened by `learn`."""

    def __init__(self, space: Space, sensitivities: Sensitivities) -> None:
        self.space = space
        self.sensitivities = sensitivities
        count = len(space.units) + len(space.layers)
        covariance = SHARED**2 * np.ones((count, count)) + OWN**2 * np.eye(count)
        self._precision = np.linalg.inv(covariance)
        self._weighted = self._precision @ np.ones(count)
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
        self._precision = self._precision + weight * np.outer(x, x)
        self._weighted = self._weighted + weight * damage * x
        self.learnt += 1

    def mean(self) -> np.ndarray:
        return np.linalg.solve(self._precision, self._weighted)

    def expect(self, choice: Choice) -> float:
        """The damage expected of a choice."""
        return float(self.features(choice) @ self._floored(self.mean()))

    def draw(self, generator: np.random.Generator, spread: float = 1.0) -> Damage:
        """Damage of every treatment under one θ drawn from the posterior (its mean for spread 0)."""
        mean = self.mean()
        theta = mean
        if spread > 0:
            # θ = mean + L⁻ᵀ z has covariance (L Lᵀ)⁻¹ = precision⁻¹
            factor = np.linalg.cholesky(self._precision)
            theta = mean + spread * np.linalg.solve(factor.T, generator.standard_normal(len(mean)))
        theta = self._floored(theta)
        units = len(self.space.units)
        drops = np.where(self.space.droppable, theta[units:] * self.sensitivities.drops, np.inf)
        return Damage(theta[:units, None] * self.sensitivities.levels, drops)

    def _floored(self, theta: np.ndarray) -> np.ndarray:
        """θ kept above a small share of its usual size."""
        usual = max(float(np.median(theta)), 1e-6)
        return np.maximum(theta, LEAST * usual)
