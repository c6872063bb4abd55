"""The posterior is the exact one, whichever way its measurements came."""

from __future__ import annotations

import numpy as np

from search.sampling.posterior import GaussianPosterior

STATE, COUNT = 40, 25


def measurements() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    mean, spread = generator.standard_normal(STATE), 0.5 + generator.random(STATE)
    rows, residuals = generator.standard_normal((COUNT, STATE)), generator.standard_normal(COUNT)
    return mean, spread, rows, residuals, 0.1 + generator.random(COUNT)


def test_the_mean_is_that_of_the_precision_matrix() -> None:
    mean, spread, rows, residuals, noise = measurements()
    posterior = GaussianPosterior(mean, spread, COUNT)
    np.testing.assert_array_equal(posterior.mean(), mean)
    posterior.set(rows[:10], residuals[:10], noise[:10])
    for row, residual, each in zip(rows[10:], residuals[10:], noise[10:], strict=True):
        posterior.add(row, float(residual), float(each))
    weighed = rows / np.square(noise)[:, None]
    steps = np.linalg.solve(np.eye(STATE) + weighed.T @ rows, weighed.T @ residuals)
    np.testing.assert_allclose(posterior.mean(), mean + spread * steps, atol=1e-9)


def test_draws_have_the_posterior_s_mean_and_covariance() -> None:
    mean, spread, rows, residuals, noise = measurements()
    posterior = GaussianPosterior(mean, spread, COUNT)
    posterior.set(rows, residuals, noise)
    generator = np.random.default_rng(1)
    draws = np.array([posterior.draw(generator, 1.0) for _ in range(4000)])
    covariance = np.linalg.inv(np.eye(STATE) + (rows / np.square(noise)[:, None]).T @ rows)
    np.testing.assert_allclose(draws.mean(axis=0), posterior.mean(), atol=0.1)
    np.testing.assert_allclose(np.cov(draws.T), spread[:, None] * covariance * spread, atol=0.2)
    narrow = np.array([posterior.draw(generator, 0.5) for _ in range(500)])
    np.testing.assert_allclose(narrow.std(axis=0) / draws.std(axis=0), 0.5, atol=0.1)
