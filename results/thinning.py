"""What of a large run goes into one page: every candidate that means something by itself, and of the others as many
as a picture can show. Pure functions.

The front, the recipes and the original are always drawn. Of the rest one candidate stands for all of its kind in the
same cell of a raster as fine as the picture (420 × 220, of a screen of about 1,100 × 550 points); only if that still
leaves more than MOST_POINTS is the raster made coarser. So a thinned cloud looks as the whole one would.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from results.candidate import SCORED, Candidate
from results.front import front, front_indices

MOST_POINTS = 4000
RASTER = (420, 220)
Cell = tuple[str, int, int]


def height(candidate: Candidate) -> float | None:
    """The COMET that a candidate is drawn at; None for none: failed, or stopped before it was translated."""
    return candidate.comet if candidate.status != "failed" and math.isfinite(candidate.comet) else None


def special(candidate: Candidate) -> bool:
    """Recipes, the original and recovered candidates mean something by themselves."""
    return candidate.status == SCORED and candidate.recipe != "search"


def drawn(candidates: Sequence[Candidate], most: int = MOST_POINTS) -> list[int]:
    """Indices of the candidates that are drawn, in their order."""
    scored = [i for i, c in enumerate(candidates) if c.status == SCORED and math.isfinite(c.comet)]
    always = {scored[i] for i in front_indices([(candidates[i].bytes, candidates[i].comet) for i in scored])}
    always |= {i for i, c in enumerate(candidates) if special(c)}
    rest = [i for i in range(len(candidates)) if i not in always]
    if len(candidates) <= most:
        return sorted([*always, *rest])
    across, up = RASTER
    while True:
        kept = _one_a_cell(candidates, rest, across, up)
        if len(kept) + len(always) <= most or across < 4:
            return sorted([*always, *kept])
        across, up = across * 3 // 4, max(up * 3 // 4, 1)


def _one_a_cell(candidates: Sequence[Candidate], indices: Sequence[int], across: int, up: int) -> list[int]:
    sizes = [math.log(max(c.bytes, 1)) for c in candidates]
    scores = [h for c in candidates if (h := height(c)) is not None] or [0.0]
    left, wide = min(sizes), max(max(sizes) - min(sizes), 1e-9)
    low, tall = min(scores), max(max(scores) - min(scores), 1e-9)
    taken: dict[Cell, int] = {}
    for i in indices:
        at = height(candidates[i])
        row = -1 if at is None else int((at - low) / tall * (up - 1))
        taken.setdefault((candidates[i].status, int((sizes[i] - left) / wide * (across - 1)), row), i)
    return list(taken.values())


def by_interest(candidates: Sequence[Candidate]) -> list[int]:
    """All indices, the most interesting first: the front, recipes, then by how little is lost to the front at the
    same size; stopped and failed ones last."""
    best = front(candidates)
    on_front = {id(c) for c in best}
    sizes = [c.bytes for c in best]

    def key(i: int) -> tuple[int, float, int]:
        c = candidates[i]
        if id(c) in on_front:
            return 0, 0.0, i
        if special(c):
            return 1, 0.0, i
        if c.status != SCORED or not math.isfinite(c.comet):
            return 3, 0.0, i
        at = bisect_right(sizes, c.bytes) - 1
        return 2, best[at].comet - c.comet if at >= 0 else 0.0, i

    return sorted(range(len(candidates)), key=key)
