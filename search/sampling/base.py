"""What every sampler of ours shares: the space as Optuna distributions, and whole policies inside a bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from compress.sizes import Bin
from search.space.constraint import SizeConstraint
from search.space.space import DROP, KEEP, VOCABULARY, Choice, Space

VOCABULARY_CHANGES = 0.1  # share of changed policies that get another vocabulary, where there are several


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space as an Optuna search space: one categorical a unit, one a layer that may be dropped, and one for the
    vocabulary if there is more than one. `Space.parameters` gives the values."""
    parameters: dict[str, BaseDistribution] = {
        f"drop {layer}": CategoricalDistribution([KEEP, DROP])
        for layer, allowed in zip(space.layers, space.droppable, strict=True)
        if allowed
    }
    for row, unit in enumerate(space.units):
        supported = [level for column, level in enumerate(space.levels) if np.isfinite(space.sizes[row, column])]
        parameters[f"level {unit}"] = CategoricalDistribution(supported)
    if len(space.vocabularies) > 1:
        parameters[VOCABULARY] = CategoricalDistribution(space.vocabularies)
    return parameters


def bin_of_trial(bins: Sequence[Bin], trial: FrozenTrial) -> Bin:
    """The bin a trial's policy has to be in: bins take turns."""
    return bins[trial.number % len(bins)]


class PolicySampler(BaseSampler):
    """Optuna's interface to samplers that suggest whole policies (`suggest`) and learn from whole ones (`learn`)."""

    def __init__(self, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        self.constraint, self.bins = constraint, tuple(bins)
        self.distributions = distributions(constraint.space)
        self._generator = np.random.default_rng(seed)

    def suggest(self, size_bin: Bin) -> Choice:
        """A choice inside the bin."""
        raise NotImplementedError

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        """Takes in the COMET of a candidate."""
        raise NotImplementedError

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return self.constraint.space.parameters(self.suggest(bin_of_trial(self.bins, trial)))

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        raise ValueError(f"{param_name} is not part of this model's space")

    def after_trial(
        self,
        study: Any,  # noqa: ARG002
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Learns from a completed trial that carries its parameters."""
        if state == TrialState.COMPLETE and values is not None and trial.params:
            choice = self.constraint.space.from_parameters(trial.params)
            self.learn(choice, self.constraint.size(choice), values[0])

    def _maybe_other_vocabulary(self, choice: Choice) -> Choice:
        """With a small probability the same choice under another vocabulary."""
        count = len(self.constraint.space.vocabularies)
        if count < 2 or self._generator.random() >= VOCABULARY_CHANGES:
            return choice
        return replace(choice, vocabulary=(choice.vocabulary + int(self._generator.integers(1, count))) % count)
