"""Makes a choice fit a bin, by exact bytes: no policy outside the bin is ever evaluated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from compress import Policy
from compress.errors import UserError
from compress.sizes import Bin
from search.space.allocate import Damage, allocate, cheapest
from search.space.space import Choice, Space

TRIES = 8
REMEMBERED = 20_000  # sizes


@dataclass(frozen=True)
class SizeConstraint:
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
        found = [cheapest(self.space, nothing, 1.0, vocabulary) for vocabulary in range(len(self.space.vocabularies))]
        if not drop:
            found = [replace(choice, dropped=np.zeros_like(choice.dropped)) for choice in found]
        return min(found, key=self.space.weigh)

    def largest(self) -> Choice:
        stays = np.zeros(len(self.space.layers), dtype=bool)
        found = []
        for vocabulary in range(len(self.space.vocabularies)):
            sizes = self.space.bytes_of(vocabulary)
            columns = np.where(np.isfinite(sizes), sizes, -1.0).argmax(axis=1)
            found.append(Choice(columns, stays, vocabulary))
        return max(found, key=self.space.weigh)

    def check_reachable(self, bins: tuple[Bin, ...]) -> None:
        """Refuses a bin that no policy of this space can reach, and says what can be reached."""
        least, most = self.size(self.smallest()), self.size(self.largest())
        for each in bins:
            if least >= each.high or most < each.low:
                raise UserError(out_of_reach(each, f"{least:,} to {most:,} bytes"))

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
        """Steps random units up or down a level, then drops or restores layers, then takes another vocabulary, until
        the choice is in the bin."""
        order = np.argsort(self.space.sizes, axis=1)
        ranks = np.argsort(order, axis=1)
        rows = np.arange(len(self.space.units))
        counts = np.isfinite(self.space.sizes).sum(axis=1)
        columns, dropped, vocabulary = choice.columns.copy(), choice.dropped.copy(), choice.vocabulary
        for _ in range(40 * len(rows)):
            now = Choice(columns, dropped, vocabulary)
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
            if len(layers):
                dropped[generator.choice(layers)] = down
                continue
            others = [Choice(columns, dropped, other) for other in range(len(self.space.vocabularies))]
            weights = [self.space.weigh(each) * (1 if down else -1) for each in others]
            if weights[vocabulary] == min(weights):
                return None
            vocabulary = weights.index(min(weights))
        return None


def out_of_reach(each: Bin, what: str) -> str:
    """Why a bin is refused; `what` is what could be reached."""
    return (
        f"{each.name} ({each.low:,} to {each.high:,} bytes) cannot be reached: policies of this model and these levels"
        f" have {what}; choose another bin or other --levels"
    )
