"""EvoPress's search (Sieberling et al. 2024) as a sampler: a parent, and children a few level switches away.

A switch moves one unit a level up and others down until the bytes are what they were, so the budget holds by
construction; a dropped layer is traded for a kept one in the same way, and now and then the vocabulary is another.
Children of a generation are compared by their COMET, the best becomes the next parent. It starts, as published, from
one level for all units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.sizes import Bin
from search.sampling.base import PolicySampler
from search.space.constraint import SizeConstraint
from search.space.space import Choice

MOST_SWITCHES = 3  # of which min(U, U') are done, U and U' uniform from 1 to this, as published
OFFSPRING = 8  # children a generation


class Evolution(PolicySampler):
    """One parent a bin; what is better than it takes its place at the end of a generation."""

    def __init__(self, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        super().__init__(constraint, bins, seed)
        self._parents: dict[str, tuple[float, Choice]] = {}
        self._children: dict[str, list[tuple[float, Choice]]] = {each.name: [] for each in bins}

    def suggest(self, into: Bin) -> Choice:
        if into.name not in self._parents:
            start = self.uniform(into)
            if start is not None and not self._children[into.name]:
                return start
        parent = self._parents.get(into.name)
        origin = parent[1] if parent else self._best_child(into) or self.uniform(into) or self.constraint.smallest()
        return self.child(origin, into)

    def child(self, parent: Choice, into: Bin) -> Choice:
        """A mutated policy, brought back into the bin."""
        found = self.constraint.repair(self.mutate(parent), into, self._generator)
        if found is None:
            raise RuntimeError(f"no policy found inside {into.name}")
        return found

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        for into in self.bins:
            if into.holds(size):
                self._children[into.name].append((comet, choice))
                first = into.name not in self._parents
                if first or len(self._children[into.name]) >= OFFSPRING:
                    best = max(self._children[into.name], key=lambda each: each[0])
                    if first or best[0] >= self._parents[into.name][0]:
                        self._parents[into.name] = best
                    self._children[into.name] = []

    def _best_child(self, into: Bin) -> Choice | None:
        children = self._children[into.name]
        return max(children, key=lambda each: each[0])[1] if children else None

    def uniform(self, into: Bin) -> Choice | None:
        """The largest single level that fits, filled up to the bin's top by single steps."""
        space = self.constraint.space
        kept = np.zeros(len(space.layers), dtype=bool)
        found: list[tuple[int, Choice]] = []
        for column in range(len(space.levels)):
            columns = np.where(np.isfinite(space.sizes[:, column]), column, space.sizes.argmin(axis=1))
            choice = Choice(columns, kept)
            size = self.constraint.size(choice)
            if size < into.high:
                found.append((size, choice))
        if not found:
            return None
        choice = max(found, key=lambda each: each[0])[1]
        return (
            choice
            if into.holds(self.constraint.size(choice))
            else self.constraint.repair(choice, into, self._generator)
        )

    def mutate(self, choice: Choice) -> Choice:
        """Some switches: one unit a level up, another down, drops traded one for one; seldom the vocabulary."""
        space, dice = self.constraint.space, self._generator
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        order = np.argsort(space.sizes, axis=1)
        ranks = np.argsort(order, axis=1)
        counts = np.isfinite(space.sizes).sum(axis=1)
        rows = np.arange(len(columns))
        for _ in range(min(int(dice.integers(1, MOST_SWITCHES + 1)), int(dice.integers(1, MOST_SWITCHES + 1)))):
            gone, here = np.flatnonzero(dropped), np.flatnonzero(space.droppable & ~dropped)
            if len(gone) and len(here) and dice.random() < len(gone) / len(columns):
                dropped[dice.choice(gone)], dropped[dice.choice(here)] = False, True
                continue
            rank = ranks[rows, columns]
            present = space.present(Choice(columns, dropped))
            up, down = np.flatnonzero(present & (rank < counts - 1)), np.flatnonzero(present & (rank > 0))
            if len(up) and len(down):
                first, second = dice.choice(up), dice.choice(down)
                columns[first] = order[first, rank[first] + 1]
                if second != first:
                    columns[second] = order[second, rank[second] - 1]
        return self._other_vocabulary(Choice(columns, dropped, choice.vocabulary))
