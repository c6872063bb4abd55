"""The house sampler, on Optuna's own BaseSampler: belief about damage, a target size, an exact allocator.

Stock samplers are lost among 132 categorical parameters and find no feasible policy at all. This one never leaves
the bin: it draws damages from its belief (search.damage) and a target size inside the bin, and lets the allocator
(search.allocate) fill it. Now and then it instead trades bytes between units of a policy that is on the front.
Milliseconds an ask; parallel asks differ because each draws anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from results.front import front_indices
from search.allocate import Damage
from search.allocate import fill as spend
from search.bins import Bin
from search.damage import Belief, observed
from search.fit import Fitter
from search.space import Choice

SPREAD = 0.6  # of a draw from the posterior: below 1 leans to what is known
AT_LIMIT = 0.35  # share of suggestions aimed at the very top of the bin
TRADES = 0.35  # share of suggestions that change a policy of the front, once there is one
PROPOSALS = 24  # trades looked at for each one suggested
ATTEMPTS = 12


class HouseSampler(BaseSampler):
    """Suggests whole policies. `original` (COMET of the original) is set as soon as it is known."""

    def __init__(self, fitter: Fitter, bins: Sequence[Bin], belief: Belief, seed: int = 0) -> None:
        self.fitter = fitter
        self.bins = tuple(bins)
        self.belief = belief
        self.original = 1.0
        self._generator = np.random.default_rng(seed)
        self._asked: set[bytes] = set()
        self._scored: list[tuple[Choice, int, float]] = []

    # Optuna's interface

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        return self.fitter.space.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        into = self.bins[trial.number % len(self.bins)]
        return self.fitter.space.parameters(self.suggest(into))

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        raise ValueError(f"{param_name} is not part of this model's space")

    def after_trial(
        self,
        study: Any,  # noqa: ARG002
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if state == TrialState.COMPLETE and values is not None:
            choice = self.fitter.space.from_parameters(trial.params)
            self.learn(choice, self.fitter.size(choice), values[0])

    # What it does

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        """A scored candidate of this or an earlier run, or a recipe whose levels lie in the space."""
        self._asked.add(self._key(choice))
        self._scored.append((choice, size, comet))
        self.belief.learn(choice, observed(comet, self.original))

    def suggest(self, into: Bin) -> Choice:
        """A choice inside the bin that was never asked for before (unless the bin holds no other)."""
        found = None
        for attempt in range(ATTEMPTS):
            damage = self.belief.draw(self._generator, spread=SPREAD * (1.0 + 0.25 * attempt))
            choice = self._trade(into, damage) if self._generator.random() < TRADES else None
            if choice is None:
                choice = self.fitter.fill(damage, self._target(into), into)
            if choice is None:
                continue
            found = choice
            if self._key(choice) not in self._asked:
                break
        else:
            start = found or self.fitter.smallest()
            found = self.fitter.repair(self._shake(start), into, self._generator) or found
        if found is None:
            raise RuntimeError(f"no policy found inside {into.name}")
        self._asked.add(self._key(found))
        return found

    def _target(self, into: Bin) -> float:
        """A size inside the bin: its very top, or anywhere between what is reachable and the top."""
        if self._generator.random() < AT_LIMIT:
            return into.high - 1
        low = max(into.low, self.fitter.size(self.fitter.smallest()))
        return low + (into.high - 1 - low) * float(np.sqrt(self._generator.random()))

    def _trade(self, into: Bin, damage: Damage) -> Choice | None:
        """A policy of the bin's front with bytes moved between a few units, the best of some proposals."""
        inside = [entry for entry in self._scored if into.holds(entry[1])]
        if len(inside) < 3:
            return None
        best = front_indices([(size, comet) for _, size, comet in inside])
        start, size, _ = inside[best[int(self._generator.integers(len(best)))]]
        overhead = size - self.fitter.space.weigh(start)
        found, least = None, np.inf
        for _ in range(PROPOSALS):
            choice = self._shake(start, count=int(self._generator.integers(1, 4)))
            if self.fitter.space.weigh(choice) + overhead >= into.high:
                continue
            choice = spend(self.fitter.space, damage, choice, into.high - 1 - overhead)
            expected = damage.of(self.fitter.space, choice)
            if expected < least and self._key(choice) not in self._asked and into.holds(self.fitter.size(choice)):
                found, least = choice, expected
        return found

    def _shake(self, choice: Choice, count: int = 3) -> Choice:
        """A few random units a level down, and now and then a layer dropped or restored."""
        space = self.fitter.space
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        order = np.argsort(space.sizes, axis=1)
        for row in self._generator.choice(len(columns), size=min(count, len(columns)), replace=False):
            rank = int(np.flatnonzero(order[row] == columns[row])[0])
            columns[row] = order[row, max(rank - int(self._generator.integers(1, 3)), 0)]
        if space.droppable.any() and self._generator.random() < 0.3:
            layer = self._generator.choice(np.flatnonzero(space.droppable))
            dropped[layer] = not dropped[layer]
        return Choice(columns, dropped)

    def _key(self, choice: Choice) -> bytes:
        """Identity of what is shipped: the level of a dropped unit makes no difference."""
        return np.where(self.fitter.space.present(choice), choice.columns, -1).astype(np.int16).tobytes()
