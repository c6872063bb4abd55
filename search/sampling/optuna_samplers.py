"""Samplers by name. Optuna's own are brought into the bin the same way, so that a comparison is fair."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from compress.errors import UserError
from compress.sizes import Bin
from search.sampling.evolution import Evolution
from search.space.constraint import SizeConstraint

STOCK = ("tpe", "nsga2", "gp", "random")
BAYESIAN = "bayesian"
ALIASES = {"house": BAYESIAN}  # names that earlier versions had
NAMES = (BAYESIAN, "evolution", *STOCK)


def canonical(name: str) -> str:
    return ALIASES.get(name, name)


def stock(name: str, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=10)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=10)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=10)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
    raise UserError(f"unknown sampler '{name}': known are {', '.join(NAMES)}")


def make_sampler(name: str, constraint: SizeConstraint, bins: Sequence[Bin], seed: int) -> BaseSampler:
    """Any sampler but the bayesian's own, which knows more than a study tells."""
    if name == "evolution":
        return Evolution(constraint, bins, seed)
    return ConstrainedSampler(stock(name, seed), constraint, bins, seed)


class ConstrainedSampler(BaseSampler):
    """Asks a stock sampler for every parameter and steps the answer into the bin before Optuna records it."""

    def __init__(self, inner: BaseSampler, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        self.inner = inner
        self.constraint = constraint
        self.bins = tuple(bins)
        self._generator = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        return self.constraint.space.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        joint = self.inner.infer_relative_search_space(study, trial)
        asked = self.inner.sample_relative(study, trial, joint)
        for name, distribution in search_space.items():
            if name not in asked:
                asked[name] = self.inner.sample_independent(study, trial, name, distribution)
        into = self.bins[trial.number % len(self.bins)]
        choice = self.constraint.repair(self.constraint.space.from_parameters(asked), into, self._generator)
        if choice is None:
            raise RuntimeError(f"no policy found inside {into.name}")
        return self.constraint.space.parameters(choice)

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Any, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Any, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()
