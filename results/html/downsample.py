"""Which candidates of a large run are drawn: those that mean something by themselves, and a sample of the others.

The front, recipes, recovered candidates and the original are always drawn. Of the others, one of each status is drawn
in each cell of a raster about as fine as the plot (420 × 220 cells, of 1,100 × 550 points); if that leaves more than
MOST_POINTS, the raster is made coarser. The downsampled cloud looks like the whole one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from results.candidate import FAILED, HELD_OUT, SCORED, STATUSES, Candidate
from results.pareto import front

MOST_POINTS = 4000
RASTER = (420, 220)


def shown_comet(candidate: Candidate) -> float | None:
    """The COMET that a candidate is drawn at; None if it failed, or was pruned before it was translated."""
    return candidate.comet if candidate.status != FAILED and math.isfinite(candidate.comet) else None


def always_shown(candidate: Candidate) -> bool:
    """Whether it is the original, of a recipe, or recovered."""
    return candidate.status in (SCORED, HELD_OUT) and candidate.recipe != "search"


def downsample(candidates: Sequence[Candidate], most: int = MOST_POINTS) -> list[int]:
    """Indices of the candidates that are drawn, in their order."""
    if len(candidates) <= most:
        return list(range(len(candidates)))
    on_front = {id(c) for c in front(candidates)}
    always = [i for i, c in enumerate(candidates) if always_shown(c) or id(c) in on_front]
    rest = np.setdiff1d(np.arange(len(candidates)), always)
    positions = _positions(candidates, rest)
    across, up = RASTER
    while True:
        kept = rest[_one_a_cell(positions, across, up)]
        if len(kept) + len(always) <= most or across < 4:
            return sorted([*always, *kept.tolist()])
        across, up = across * 3 // 4, max(up * 3 // 4, 1)


def _positions(candidates: Sequence[Candidate], indices: np.ndarray) -> np.ndarray:
    """[3, indices]: the status, and x and y in the plot from 0 to 1; y is -1 without COMET."""
    chosen = [candidates[i] for i in indices]
    smallest = min((c.bytes for c in chosen if c.bytes > 0), default=1)
    sizes = np.log([max(c.bytes, smallest) for c in chosen])  # 0 bytes: failed before they were known
    scores = np.array([math.nan if (comet := shown_comet(c)) is None else comet for c in chosen])
    known = scores[np.isfinite(scores)]
    low, tall = (known.min(), max(float(np.ptp(known)), 1e-9)) if known.size else (0.0, 1.0)
    x = (sizes - sizes.min()) / max(float(np.ptp(sizes)), 1e-9)
    y = np.nan_to_num((scores - low) / tall, nan=-1.0)
    return np.stack([np.array([STATUSES.index(c.status) for c in chosen], dtype=float), x, y])


def _one_a_cell(positions: np.ndarray, across: int, up: int) -> np.ndarray:
    """Indices of the first of each status in each cell."""
    status, x, y = positions
    cells = np.stack([status, np.floor(x * (across - 1)), np.floor(y * (up - 1))])
    _, first = np.unique(cells, axis=1, return_index=True)
    return np.sort(first)


def by_interest(candidates: Sequence[Candidate]) -> list[int]:
    """All indices, the most interesting first: the front, then recipes and recovered candidates, then by distance
    in COMET from the front at the same size; pruned and failed ones last."""
    best = front(candidates)
    on_front = {id(c) for c in best}
    sizes = [c.bytes for c in best]

    def key(i: int) -> tuple[int, float, int]:
        c = candidates[i]
        if id(c) in on_front:
            return 0, 0.0, i
        if always_shown(c):
            return 1, 0.0, i
        if not c.comparable:
            return 3, 0.0, i
        at = bisect_right(sizes, c.bytes) - 1
        return 2, best[at].comet - c.comet if at >= 0 else 0.0, i

    return sorted(range(len(candidates)), key=key)
