"""Two runs compared: their fronts, their best COMET at equal sizes, and two of their candidates by a paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import UserError
from compress.sizes import Bin
from evaluate.metrics.significance import paired
from results.candidate import Candidate
from results.formats import aligned
from results.pareto import front, hypervolume_share
from results.runs import RunView


@dataclass(frozen=True)
class BinComparison:
    """What two runs reached inside one bin; None where a run has no candidate in it."""

    bin: str
    hypervolume_a: float
    hypervolume_b: float
    best_a: float | None
    best_b: float | None


@dataclass(frozen=True)
class SizeComparison:
    """The best COMET of two runs under so many bytes."""

    bytes: int
    a: float | None
    b: float | None


@dataclass(frozen=True)
class Comparison:
    """On the front of both runs together are `of_a` members of A and `of_b` of B; a policy of both counts for A."""

    bins: tuple[BinComparison, ...]
    sizes: tuple[SizeComparison, ...]
    of_a: int
    of_b: int

    def to_text(self, names: Sequence[str]) -> str:
        """Tables of bins and of sizes, with the names of the runs."""
        a, b = names
        bins: list[tuple[str, ...]] = [("", f"hypervolume {a}", b, f"best COMET {a}", b)]
        bins += [(x.bin, *map(_digits, (x.hypervolume_a, x.hypervolume_b, x.best_a, x.best_b))) for x in self.bins]
        sizes = [("under bytes", f"COMET {a}", b, "difference", "")]
        for x in self.sizes:
            difference = f"{x.a - x.b:+.4f}" if x.a is not None and x.b is not None else "–"
            sizes.append((f"{x.bytes:,}", _digits(x.a), _digits(x.b), difference, ""))
        joint = f"front of both together: {self.of_a} of {a}, {self.of_b} of {b}"
        return "\n".join(line.rstrip() for line in [*aligned(bins), "", *aligned(sizes), "", joint])


def compare(
    a: Sequence[Candidate], b: Sequence[Candidate], bins: Sequence[Bin], top: float, steps: int = 8
) -> Comparison:
    """`top`: the COMET that hypervolumes are measured up to, the same for both."""
    per_bin = []
    for each in bins:
        inside = [[c for c in run if c.comparable and each.holds(c.bytes)] for run in (a, b)]
        if not any(inside):
            continue
        best = [max((c.comet for c in candidates), default=None) for candidates in inside]
        volumes = [hypervolume_share(candidates, [each], top) for candidates in inside]
        per_bin.append(BinComparison(each.name, volumes[0], volumes[1], best[0], best[1]))
    both = [*front(a), *front(b)]
    joint = front(both)
    of_b = len({id(c) for c in b} & {id(c) for c in joint})
    sizes = [c.bytes for c in both] or [1]
    low, high = min(sizes), max(sizes)
    marks = [round(low * (high / low) ** (n / (steps - 1))) + 1 for n in range(steps)]
    per_size = tuple(SizeComparison(size, best_below(a, size), best_below(b, size)) for size in dict.fromkeys(marks))
    return Comparison(tuple(per_bin), per_size, len(joint) - of_b, of_b)


def best_below(candidates: Sequence[Candidate], size: float) -> float | None:
    return max((c.comet for c in candidates if c.comparable and c.bytes < size), default=None)


def paired_test(runs: Sequence[RunView], names: Sequence[str]) -> dict[str, Any]:
    """The paired bootstrap between a candidate of each of two runs."""
    rows: list[Candidate] = []
    for run, name in zip(runs, names, strict=True):
        row = run.with_texts([run.find(name).candidate])[name]
        if not row.comparable:
            raise UserError(f"candidate {name} of {run.path} is {row.status_word}: only scored ones can be compared")
        rows.append(row)
    test = paired(rows[0].comet_segments, rows[1].comet_segments)
    better = names[0] if test.difference > 0 else names[1]
    verdict = f"{better} is significantly better" if test.p < 0.05 else "no significant difference"
    return {"a": names[0], "b": names[1], **asdict(test), "segments": len(rows[0].comet_segments), "verdict": verdict}


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
