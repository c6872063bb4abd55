"""EvoPress's search (Sieberling et al. 2024) as a sampler: a parent, and children that differ by a few level switches.

A switch moves one unit a level up and another down, so the size stays about the same, and the child is repaired into
the bin; a dropped layer is exchanged for a kept one in the same way, and sometimes the vocabulary changes. The
children of a generation are compared by COMET, the best becomes the next parent. The first parent, as published, has
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


class EvolutionSampler(PolicySampler):
    """One parent a bin; at the end of a generation a better child replaces it."""

    def __init__(self, constraint: SizeConstraint, bins: Sequence[Bin], seed: int = 0) -> None:
        super().__init__(constraint, bins, seed)
        self._parents: dict[str, tuple[float, Choice]] = {}  # bin → COMET and choice
        self._children: dict[str, list[tuple[float, Choice]]] = {size_bin.name: [] for size_bin in bins}

    def suggest(self, size_bin: Bin) -> Choice:
        parent = self._parents.get(size_bin.name)
        if parent is None:
            return self.uniform(size_bin) or self.child(self.constraint.smallest(), size_bin)
        return self.child(parent[1], size_bin)

    def child(self, parent: Choice, size_bin: Bin) -> Choice:
        """A mutated policy, repaired into the bin."""
        choice = self.constraint.repair(self.mutate(parent), size_bin, self._generator)
        if choice is None:
            raise RuntimeError(f"no policy found inside {size_bin.name}")
        return choice

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        for size_bin in self.bins:
            if size_bin.holds(size):
                name = size_bin.name
                self._children[name].append((comet, choice))
                first = name not in self._parents
                if first or len(self._children[name]) >= OFFSPRING:
                    best = max(self._children[name], key=lambda scored: scored[0])
                    if first or best[0] >= self._parents[name][0]:
                        self._parents[name] = best
                    self._children[name] = []

    def uniform(self, size_bin: Bin) -> Choice | None:
        """The largest single level below the bin's upper bound, repaired into the bin; None if there is none."""
        space = self.constraint.space
        none_dropped = np.zeros(len(space.layers), dtype=bool)
        choices: list[tuple[int, Choice]] = []
        for column in range(len(space.levels)):
            columns = np.where(np.isfinite(space.sizes[:, column]), column, space.sizes.argmin(axis=1))
            choice = Choice(columns, none_dropped)
            size = self.constraint.size(choice)
            if size < size_bin.high:
                choices.append((size, choice))
        if not choices:
            return None
        size, choice = max(choices, key=lambda pair: pair[0])
        return choice if size_bin.holds(size) else self.constraint.repair(choice, size_bin, self._generator)

    def mutate(self, choice: Choice) -> Choice:
        """Some switches: one unit a level up and another down, or a dropped layer exchanged for a kept one; sometimes
        another vocabulary."""
        space, generator = self.constraint.space, self._generator
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        order = np.argsort(space.sizes, axis=1)
        ranks = np.argsort(order, axis=1)
        counts = np.isfinite(space.sizes).sum(axis=1)
        rows = np.arange(len(columns))
        switches = min(int(generator.integers(1, MOST_SWITCHES + 1)), int(generator.integers(1, MOST_SWITCHES + 1)))
        for _ in range(switches):
            restorable, droppable = np.flatnonzero(dropped), np.flatnonzero(space.droppable & ~dropped)
            if len(restorable) and len(droppable) and generator.random() < len(restorable) / len(columns):
                dropped[generator.choice(restorable)], dropped[generator.choice(droppable)] = False, True
                continue
            rank = ranks[rows, columns]
            present = space.present(Choice(columns, dropped))
            up, down = np.flatnonzero(present & (rank < counts - 1)), np.flatnonzero(present & (rank > 0))
            if len(up) and len(down):
                raised, lowered = generator.choice(up), generator.choice(down)
                columns[raised] = order[raised, rank[raised] + 1]
                if lowered != raised:
                    columns[lowered] = order[lowered, rank[lowered] - 1]
        return self._maybe_other_vocabulary(Choice(columns, dropped, choice.vocabulary))
