"""What was measured of each choice so far, by bin, with the front of each bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.sizes import Bin
from results.pareto import front_indices
from search.space.space import Choice, Space


@dataclass
class Observation:
    """What was measured of a choice. `kl` and `comet` are NaN until they are measured."""

    choice: Choice
    size: int
    kl: float = math.nan
    comet: float = math.nan
    pending: bool = False  # is being scored

    @property
    def scored(self) -> bool:
        return math.isfinite(self.comet)


class Observations:
    """Observations by choice; fronts, lists by bin and counts are kept up to date."""

    def __init__(self, space: Space, bins: Sequence[Bin]) -> None:
        self.space, self.bins = space, tuple(bins)
        self.kls = 0  # how many choices have a KL
        self._by_choice: dict[bytes, Observation] = {}
        self._by_bin: dict[str, list[Observation]] = {size_bin.name: [] for size_bin in bins}
        self._fronts: dict[str, list[tuple[float, float]]] = {size_bin.name: [] for size_bin in bins}

    def get(self, choice: Choice) -> Observation | None:
        return self._by_choice.get(self.space.key(choice))

    def inside(self, size_bin: Bin) -> list[Observation]:
        """Those inside a bin, the oldest first."""
        return self._by_bin[size_bin.name]

    def front(self, size_bin: Bin) -> list[tuple[float, float]]:
        """(bytes, COMET) of the front inside a bin."""
        return self._fronts[size_bin.name]

    def add_kl(self, choice: Choice, size: int, kl: float) -> bool:
        """Takes in a KL; False, and nothing changes, where the choice has one already."""
        observation = self._observation(choice, size)
        if math.isfinite(observation.kl):
            return False
        observation.kl = kl
        self.kls += math.isfinite(kl)
        return True

    def add_comet(self, choice: Choice, size: int, comet: float) -> Observation:
        """Takes in a COMET, in place of an earlier one."""
        observation = self._observation(choice, size)
        again = observation.scored
        observation.comet = comet
        for size_bin in self._bins_of(observation.size):
            if again:
                self._recompute_front(size_bin)
            else:
                self._set_front(size_bin, [*self.front(size_bin), (observation.size, comet)])
        return observation

    def remove(self, choice: Choice) -> None:
        observation = self._by_choice.pop(self.space.key(choice), None)
        if observation is None:
            return
        self.kls -= math.isfinite(observation.kl)
        for size_bin in self._bins_of(observation.size):
            self._by_bin[size_bin.name] = [each for each in self.inside(size_bin) if each is not observation]
            self._recompute_front(size_bin)

    def _observation(self, choice: Choice, size: int) -> Observation:
        key = self.space.key(choice)
        if key not in self._by_choice:
            self._by_choice[key] = Observation(choice, size)
            for size_bin in self._bins_of(size):
                self._by_bin[size_bin.name].append(self._by_choice[key])
        return self._by_choice[key]

    def _bins_of(self, size: int) -> list[Bin]:
        return [size_bin for size_bin in self.bins if size_bin.holds(size)]

    def _recompute_front(self, size_bin: Bin) -> None:
        self._set_front(size_bin, [(each.size, each.comet) for each in self.inside(size_bin) if each.scored])

    def _set_front(self, size_bin: Bin, points: list[tuple[float, float]]) -> None:
        self._fronts[size_bin.name] = [points[index] for index in front_indices(points)]
