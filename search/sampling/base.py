"""What samplers of ours have in common: they suggest whole policies inside a bin, and learn from whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from compress.sizes import Bin
from search.space.constraint import SizeConstraint
from search.space.space import Choice, Space

SWITCHED = 0.1  # share of changed policies that get another vocabulary, where there is a choice


def distributions(space: Space) -> dict[str, Any]:
    return space.distributions


class PolicySampler(BaseSampler):
    """Optuna's interface over `suggest` and `learn`. Bins take turns."""

    def __init__(self, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        self.constraint, self.bins = constraint, tuple(bins)
        self._generator = np.random.default_rng(seed)

    def suggest(self, into: Bin) -> Choice:
        """A choice inside the bin."""
        raise NotImplementedError

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        """A scored candidate."""
        raise NotImplementedError

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        return self.constraint.space.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return self.constraint.space.parameters(self.suggest(self.turn(trial)))

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        raise ValueError(f"{param_name} is not part of this model's space")

    def after_trial(
        self,
        study: Any,  # noqa: ARG002
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Learns from a trial that carries its parameters."""
        if state == TrialState.COMPLETE and values is not None and trial.params:
            choice = self.constraint.space.from_parameters(trial.params)
            self.learn(choice, self.constraint.size(choice), values[0])

    def _other_vocabulary(self, choice: Choice) -> Choice:
        """Now and then the same choice under another vocabulary."""
        count = len(self.constraint.space.vocabularies)
        if count < 2 or self._generator.random() >= SWITCHED:
            return choice
        return replace(choice, vocabulary=(choice.vocabulary + int(self._generator.integers(1, count))) % count)

    def turn(self, trial: FrozenTrial) -> Bin:
        return self.bins[trial.number % len(self.bins)]
