"""Optuna's own samplers, brought into the bin, so that a comparison with ours is fair."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from compress.sizes import Bin
from search.sampling.base import bin_of_trial, distributions
from search.space.constraint import SizeConstraint

OPTUNA_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {  # name → sampler from a seed
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=10),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=10),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=10),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


class ConstrainedSampler(BaseSampler):
    """Asks an inner sampler for every parameter and repairs the policy into the bin before Optuna records it."""

    def __init__(self, inner: BaseSampler, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        self.inner = inner
        self.constraint, self.bins = constraint, tuple(bins)
        self.distributions = distributions(constraint.space)
        self._generator = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        joint = self.inner.infer_relative_search_space(study, trial)
        parameters = self.inner.sample_relative(study, trial, joint)
        for name, distribution in search_space.items():
            if name not in parameters:
                parameters[name] = self.inner.sample_independent(study, trial, name, distribution)
        size_bin = bin_of_trial(self.bins, trial)
        suggested = self.constraint.space.from_parameters(parameters)
        choice = self.constraint.repair(suggested, size_bin, self._generator)
        if choice is None:
            raise RuntimeError(f"no policy found inside {size_bin.name}")
        return self.constraint.space.parameters(choice)

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Any, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Any, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()


def constrained(name: str, constraint: SizeConstraint, bins: Sequence[Bin], seed: int) -> ConstrainedSampler:
    """One of OPTUNA_SAMPLERS inside the bins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return ConstrainedSampler(OPTUNA_SAMPLERS[name](seed), constraint, bins, seed)
