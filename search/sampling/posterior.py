"""Bayesian linear regression with a Gaussian prior, in as many dimensions as there are measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve


class GaussianPosterior:
    """Posterior of a state with independent Gaussian priors, given noisy measurements that are linear in it.

    A measurement is a row (its gradient times the prior's spread), a residual (the measured value less what the prior's
    mean gives) and a noise (standard deviation).
    """

    def __init__(self, mean: np.ndarray, spread: np.ndarray, capacity: int) -> None:
        self.prior_mean, self.spread = mean, spread
        self.count = 0  # measurements so far
        self._rows = np.zeros((capacity, len(mean)))
        self._residuals = np.zeros(capacity)
        self._noise = np.zeros(capacity)
        self._products = np.zeros((capacity, capacity))  # rows · rows, plus the noise's variance on the diagonal
        self._factor: Any = None  # Cholesky factor of the used part of _products; None: out of date
        self._mean = mean.copy()

    def set(self, rows: np.ndarray, residuals: np.ndarray, noise: np.ndarray) -> None:
        """Replaces all measurements."""
        count = self.count = len(rows)
        self._rows[:count], self._residuals[:count], self._noise[:count] = rows, residuals, noise
        used = self._rows[:count]
        self._products[:count, :count] = used @ used.T + np.diag(np.square(noise))
        self._factor = None

    def add(self, row: np.ndarray, residual: float, noise: float) -> None:
        """One more measurement."""
        last = self.count
        self._rows[last], self._residuals[last], self._noise[last] = row, residual, noise
        products = self._rows[: last + 1] @ row
        self._products[last, : last + 1] = products
        self._products[: last + 1, last] = products
        self._products[last, last] += noise**2
        self.count += 1
        self._factor = None

    def mean(self) -> np.ndarray:
        """The posterior's mean; computed only when it is needed."""
        if self._factor is None and self.count:
            self._factor = cho_factor(self._products[: self.count, : self.count], check_finite=False)
            self._mean = self._conditioned(np.zeros_like(self._mean), np.zeros(self.count))
        return self._mean

    def draw(self, generator: np.random.Generator, scale: float) -> np.ndarray:
        """A draw (Matheron's rule), its deviation from the mean multiplied by `scale`."""
        self.mean()
        start = scale * generator.standard_normal(len(self._mean))
        return self._conditioned(start, scale * generator.standard_normal(self.count))

    def _conditioned(self, start: np.ndarray, jitter: np.ndarray) -> np.ndarray:
        """A draw from the prior, in units of its spread, moved to agree with the measurements."""
        if not self.count:
            return self.prior_mean + self.spread * start
        rows = self._rows[: self.count]
        rest = self._residuals[: self.count] - rows @ start - self._noise[: self.count] * jitter
        pull = cho_solve(self._factor, rest, check_finite=False)
        return self.prior_mean + self.spread * (start + pull @ rows)
