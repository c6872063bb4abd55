"""Keeps policies inside a size bin, by exact bytes: no policy outside the bin is ever evaluated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from compress import Policy
from compress.sizes import Bin
from search.space import bounds
from search.space.allocate import ActionCosts, allocate, cheapest
from search.space.space import Choice, Space

FILL_ATTEMPTS = 8
CACHED_SIZES = 20_000


@dataclass(frozen=True)
class SizeConstraint:
    """Gives the exact bytes of a choice's artifact and moves choices into bins."""

    space: Space
    exact: Callable[[Policy], int]
    _sizes: OrderedDict[bytes, int] = field(default_factory=OrderedDict, repr=False, compare=False)

    def size(self, choice: Choice) -> int:
        """Exact bytes; milliseconds the first time, then cached."""
        key = self.space.key(choice)
        if key not in self._sizes:
            if len(self._sizes) >= CACHED_SIZES:
                self._sizes.popitem(last=False)
            self._sizes[key] = self.exact(self.space.policy(choice))
        return self._sizes[key]

    def overhead(self, choice: Choice) -> int:
        """Exact bytes less `Space.variable_bytes`: manifest and auxiliary files, nearly the same for all choices."""
        return self.size(choice) - self.space.variable_bytes(choice)

    def smallest(self, drop: bool = True) -> Choice:
        """The choice of fewest bytes: every droppable layer dropped, the smallest level elsewhere."""
        free = ActionCosts(np.zeros_like(self.space.sizes), np.zeros(len(self.space.layers)))
        choices = [cheapest(self.space, free, 1.0, vocabulary) for vocabulary in range(len(self.space.vocabularies))]
        if not drop:
            choices = [replace(choice, dropped=np.zeros_like(choice.dropped)) for choice in choices]
        return min(choices, key=self.space.variable_bytes)

    def largest(self) -> Choice:
        """The choice of most bytes."""
        none_dropped = np.zeros(len(self.space.layers), dtype=bool)
        choices = []
        for vocabulary in range(len(self.space.vocabularies)):
            sizes = self.space.sizes_under(vocabulary)
            columns = np.where(np.isfinite(sizes), sizes, -1.0).argmax(axis=1)
            choices.append(Choice(columns, none_dropped, vocabulary))
        return max(choices, key=self.space.variable_bytes)

    def check_reachable(self, bins: tuple[Bin, ...]) -> None:
        """Refuses a bin that no policy of this space is in, and says which sizes there are."""
        bounds.check_reachable(bins, self.size(self.smallest()), self.size(self.largest()), exact=True)

    def fill(self, costs: ActionCosts, target: float, size_bin: Bin) -> Choice | None:
        """The choice of least cost with at most `target` bytes, inside the bin; None where there is none."""
        budget = target - self.overhead(self.smallest())
        for _ in range(FILL_ATTEMPTS):
            choice = allocate(self.space, costs, budget)
            if choice is None:
                return None
            size = self.size(choice)
            if size_bin.holds(size) and size <= target:
                return choice
            # Manifest and auxiliary files vary a little with the policy: correct by what was missed.
            if size < size_bin.low:
                budget += size_bin.low - size
            else:
                budget = min(budget + target - size, target - self.overhead(choice)) - 1
        return None

    def repair(self, choice: Choice, size_bin: Bin, generator: np.random.Generator) -> Choice | None:
        """Steps random units up or down a level, then drops or restores layers, then takes another vocabulary, until
        the choice is in the bin; None where that fails."""
        order = np.argsort(self.space.sizes, axis=1)
        ranks = np.argsort(order, axis=1)
        rows = np.arange(len(self.space.units))
        counts = np.isfinite(self.space.sizes).sum(axis=1)
        columns, dropped, vocabulary = choice.columns.copy(), choice.dropped.copy(), choice.vocabulary
        for _ in range(40 * len(rows)):
            current = Choice(columns, dropped, vocabulary)
            size = self.size(current)
            if size_bin.holds(size):
                return current
            shrink = size >= size_bin.high
            rank = ranks[rows, columns]
            movable = self.space.present(current) & ((rank > 0) if shrink else (rank < counts - 1))
            if movable.any():
                # several units at once while far away, one at a time near the bin
                excess = abs(size - (size_bin.high if shrink else size_bin.low)) / max(size, 1)
                step = max(1, min(int(movable.sum()), round(excess * len(rows) / 2)))
                for row in generator.choice(np.flatnonzero(movable), size=step, replace=False):
                    columns[row] = order[row, rank[row] + (-1 if shrink else 1)]
                continue
            layers = np.flatnonzero(self.space.droppable & (dropped != shrink))
            if len(layers):
                dropped[generator.choice(layers)] = shrink
                continue
            others = [Choice(columns, dropped, other) for other in range(len(self.space.vocabularies))]
            sizes = [self.space.variable_bytes(other) * (1 if shrink else -1) for other in others]
            if sizes[vocabulary] == min(sizes):
                return None
            vocabulary = sizes.index(min(sizes))
        return None
