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

import numpy as np

from results.candidate import SCORED, STATUSES, Candidate
from results.pareto import front, front_indices

MOST_POINTS = 4000
RASTER = (420, 220)


def shown_comet(candidate: Candidate) -> float | None:
    """The COMET that a candidate is drawn at; None for none: failed, or stopped before it was translated."""
    return candidate.comet if candidate.status != "failed" and math.isfinite(candidate.comet) else None


def always_shown(candidate: Candidate) -> bool:
    """Recipes, the original and recovered candidates mean something by themselves."""
    return candidate.status == SCORED and candidate.recipe != "search"


def downsample(candidates: Sequence[Candidate], most: int = MOST_POINTS) -> list[int]:
    """Indices of the candidates that are drawn, in their order."""
    scored = [i for i, c in enumerate(candidates) if c.status == SCORED and math.isfinite(c.comet)]
    always = {scored[i] for i in front_indices([(candidates[i].bytes, candidates[i].comet) for i in scored])}
    always |= {i for i, c in enumerate(candidates) if always_shown(c)}
    if len(candidates) <= most:
        return list(range(len(candidates)))
    rest = np.array([i for i in range(len(candidates)) if i not in always], dtype=np.int64)
    places = _places(candidates, rest)
    across, up = RASTER
    while True:
        kept = rest[_one_a_cell(places, across, up)]
        if len(kept) + len(always) <= most or across < 4:
            return sorted([*always, *kept.tolist()])
        across, up = across * 3 // 4, max(up * 3 // 4, 1)


def _places(candidates: Sequence[Candidate], indices: np.ndarray) -> np.ndarray:
    """[3, indices]: kind, and where across and up the picture from 0 to 1; below 0 for what has no COMET."""
    found = [candidates[i] for i in indices]
    sizes = np.log([max(c.bytes, 1) for c in found])
    scores = np.array([math.nan if (h := shown_comet(c)) is None else h for c in found])
    known = scores[np.isfinite(scores)]
    low, tall = (known.min(), max(float(np.ptp(known)), 1e-9)) if known.size else (0.0, 1.0)
    x = (sizes - sizes.min()) / max(float(np.ptp(sizes)), 1e-9)
    y = np.nan_to_num((scores - low) / tall, nan=-1.0)
    return np.stack([np.array([STATUSES.index(c.status) for c in found], dtype=float), x, y])


def _one_a_cell(places: np.ndarray, across: int, up: int) -> np.ndarray:
    """Positions of the first of each kind in each cell."""
    cells = np.stack([places[0], np.floor(places[1] * (across - 1)), np.floor(places[2] * (up - 1))])
    _, first = np.unique(cells, axis=1, return_index=True)
    return np.sort(first)


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
        if always_shown(c):
            return 1, 0.0, i
        if c.status != SCORED or not math.isfinite(c.comet):
            return 3, 0.0, i
        at = bisect_right(sizes, c.bytes) - 1
        return 2, best[at].comet - c.comet if at >= 0 else 0.0, i

    return sorted(range(len(candidates)), key=key)
