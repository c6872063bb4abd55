"""Makes a choice fit a bin, by exact bytes: no policy outside the bin is ever evaluated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from compress import Policy
from compress.errors import Refusal
from search.allocate import Damage, allocate, cheapest
from search.bins import Bin
from search.space import Choice, Space

TRIES = 8
REMEMBERED = 20_000  # sizes


@dataclass(frozen=True)
class Fitter:
    """Knows the exact bytes of a choice's artifact and brings choices into bins."""

    space: Space
    exact: Callable[[Policy], int]
    _known: OrderedDict[bytes, int] = field(default_factory=OrderedDict, repr=False, compare=False)

    def size(self, choice: Choice) -> int:
        """Exact bytes; milliseconds the first time, then remembered."""
        key = self.space.key(choice)
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.popitem(last=False)
            self._known[key] = self.exact(self.space.policy(choice))
        return self._known[key]

    def smallest(self, drop: bool = True) -> Choice:
        """The choice of fewest bytes: every layer dropped that may be, the cheapest level elsewhere."""
        nothing = Damage(np.zeros_like(self.space.sizes), np.zeros(len(self.space.layers)))
        choice = cheapest(self.space, nothing, 1.0)
        return choice if drop else Choice(choice.columns, np.zeros_like(choice.dropped))

    def largest(self) -> Choice:
        columns = np.where(np.isfinite(self.space.sizes), self.space.sizes, -1.0).argmax(axis=1)
        return Choice(columns, np.zeros(len(self.space.layers), dtype=bool))

    def check_reachable(self, bins: tuple[Bin, ...]) -> None:
        """Refuses a bin that no policy of this space can reach, and says what can be reached."""
        least, most = self.size(self.smallest()), self.size(self.largest())
        for each in bins:
            if least >= each.high or most < each.low:
                raise Refusal(
                    f"{each.name} ({each.low:,} to {each.high:,} bytes) cannot be reached: policies of this model and"
                    f" these levels have {least:,} to {most:,} bytes; choose another bin or other --levels"
                )

    def fill(self, damage: Damage, target: float, into: Bin) -> Choice | None:
        """The least damage at a size of at most `target`, inside the bin; None if that cannot be had."""
        budget = target - (self.size(self.smallest()) - self.space.weigh(self.smallest()))
        for _ in range(TRIES):
            choice = allocate(self.space, damage, budget)
            if choice is None:
                return None
            size = self.size(choice)
            if into.holds(size) and size <= target:
                return choice
            # The fixed files grow and shrink a little with the policy; correct by what was missed.
            budget += (into.low - size) if size < into.low else (target - size) - 1
        return None

    def repair(self, choice: Choice, into: Bin, generator: np.random.Generator) -> Choice | None:
        """Steps random units up or down a level, and drops or restores layers, until the choice is in the bin."""
        order = np.argsort(self.space.sizes, axis=1)
        ranks = np.argsort(order, axis=1)
        rows = np.arange(len(self.space.units))
        counts = np.isfinite(self.space.sizes).sum(axis=1)
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        for _ in range(40 * len(rows)):
            now = Choice(columns, dropped)
            size = self.size(now)
            if into.holds(size):
                return now
            down = size >= into.high
            rank = ranks[rows, columns]
            movable = self.space.present(now) & ((rank > 0) if down else (rank < counts - 1))
            if movable.any():
                # several units at once while far away, one at a time near the bin
                excess = abs(size - (into.high if down else into.low)) / max(size, 1)
                step = max(1, min(int(movable.sum()), round(excess * len(rows) / 2)))
                for row in generator.choice(np.flatnonzero(movable), size=step, replace=False):
                    columns[row] = order[row, rank[row] + (-1 if down else 1)]
                continue
            layers = np.flatnonzero(self.space.droppable & (dropped != down))
            if not len(layers):
                return None
            dropped[generator.choice(layers)] = down
        return None
