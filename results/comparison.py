"""Two runs beside each other: fronts, hypervolumes, the best COMET at the same sizes. Pure functions on candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.sizes import Bin
from results.candidate import Candidate
from results.pareto import comparable, front, hypervolume_share


@dataclass(frozen=True)
class BinComparison:
    """What two runs reached inside one bin; None where nothing of a run lies in it."""

    bin: str
    hypervolume_a: float
    hypervolume_b: float
    best_a: float | None
    best_b: float | None


@dataclass(frozen=True)
class SizeComparison:
    """The best COMET under so many bytes."""

    bytes: int
    a: float | None
    b: float | None


@dataclass(frozen=True)
class Comparison:
    """Of the front of both together, `of_a` members are A's alone, `of_b` B's; a policy that both have counts for A."""

    bins: tuple[BinComparison, ...]
    sizes: tuple[SizeComparison, ...]
    of_a: int
    of_b: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def best_below(candidates: Sequence[Candidate], size: float) -> float | None:
    return max((c.comet for c in candidates if comparable(c) and c.bytes < size), default=None)


def compare(
    a: Sequence[Candidate], b: Sequence[Candidate], bins: Sequence[Bin], top: float, steps: int = 8
) -> Comparison:
    """`top`: the COMET that hypervolumes go up to, the same for both."""
    lines = []
    for each in bins:
        inside = [[c for c in run if comparable(c) and each[1] <= c.bytes < each[2]] for run in (a, b)]
        if not any(inside):
            continue
        best = [max((c.comet for c in found), default=None) for found in inside]
        volumes = [hypervolume_share(found, [each], top) for found in inside]
        lines.append(BinComparison(each[0], volumes[0], volumes[1], best[0], best[1]))
    both = [*front(a), *front(b)]
    owner = {id(c): index < len(front(a)) for index, c in enumerate(both)}
    joint = [owner[id(c)] for c in front(both)]
    sizes = [c.bytes for c in both] or [1]
    low, high = min(sizes), max(sizes)
    marks = [round(low * (high / low) ** (n / (steps - 1))) + 1 for n in range(steps)]
    table = tuple(SizeComparison(size, best_below(a, size), best_below(b, size)) for size in dict.fromkeys(marks))
    return Comparison(tuple(lines), table, sum(joint), len(joint) - sum(joint))
