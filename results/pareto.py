"""The front of COMET against bytes, and the hypervolume under it. Pure functions on plain numbers.

A point is (bytes, comet): fewer bytes and more COMET are better. Two dimensions need no general algorithm: one sort
and one sweep, O(n log n); and a front that grows by one point finds its place by bisection.

    python -m results.front RUN... [--bin Bin2 | --per-bin] [--format text|csv|markdown|latex|json]
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from results.candidate import SCORED, Candidate

Point = tuple[float, float]
MANY = 500


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the points no other beats in both, by rising bytes. Of equal points the first one stands."""
    return _by_arrays(points) if len(points) > MANY else _by_loop(points)


def _by_loop(points: Sequence[Point]) -> list[int]:
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    best = float("-inf")
    for index in order:
        if points[index][1] > best:
            kept.append(index)
            best = points[index][1]
    return kept


def _by_arrays(points: Sequence[Point]) -> list[int]:
    """The same with NumPy, whose overhead pays from a few hundred points on."""
    import numpy as np

    sizes, scores = np.asarray(points, dtype=float).reshape(-1, 2).T
    order = np.lexsort((-scores, sizes))  # stable: of equal points the first comes first
    ordered = scores[order]
    before = np.fmax.accumulate(np.concatenate([[-np.inf], ordered]))[:-1]
    return [int(index) for index in order[ordered > before]]


def comparable(candidate: Candidate) -> bool:
    """Whether a candidate's COMET may stand beside others': scored on all segments, and a number."""
    return candidate.status == SCORED and math.isfinite(candidate.comet)


def front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The scored candidates no other beats, by rising bytes."""
    scored = [c for c in candidates if comparable(c)]
    return [scored[index] for index in front_indices([(c.bytes, c.comet) for c in scored])]


def hypervolume(points: Sequence[Point], worst: Point) -> float:
    """Area dominated by the points and better than `worst` = (most bytes, least COMET)."""
    most_bytes, least = worst
    inside = [points[i] for i in front_indices(points) if points[i][0] < most_bytes and points[i][1] > least]
    area = 0.0
    for index, (size, score) in enumerate(inside):
        right = inside[index + 1][0] if index + 1 < len(inside) else most_bytes
        area += (right - size) * (score - least)
    return area


def hypervolume_share(candidates: Iterable[Candidate], bins: Sequence[tuple[str, int, int]], top: float) -> float:
    """Share of (bins × COMET from 0 to `top`) that the candidates inside the bins dominate."""
    scored = [c for c in candidates if comparable(c)]
    area = total = 0.0
    for _, low, high in bins:
        area += hypervolume([(c.bytes, c.comet) for c in scored if low <= c.bytes < high], (high, 0.0))
        total += (high - low) * top
    return area / total if total else 0.0


class Front:
    """A front that grows by one candidate at a time, in O(log n) where nothing changes. Equal to `front` of all."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self.members: list[Candidate] = []
        self._sizes: list[int] = []
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> bool:
        """Whether the candidate is now on the front; those it beats are gone from it."""
        if not comparable(candidate):
            return False
        at = bisect_right(self._sizes, candidate.bytes)  # members before it are no larger
        if at and self.members[at - 1].comet >= candidate.comet:
            return False
        start = bisect_left(self._sizes, candidate.bytes)
        end = start
        while end < len(self.members) and self.members[end].comet <= candidate.comet:
            end += 1
        self.members[start:end] = [candidate]
        self._sizes[start:end] = [candidate.bytes]
        return True


def knee_index(points: Sequence[Point]) -> int:
    """Of a front by rising bytes, the point farthest above the line from its first to its last, bytes by their
    logarithm and both axes scaled to 1: past it, more bytes buy less than the average. Needs three points."""
    assert len(points) > 2
    x = [math.log(max(size, 1)) for size, _ in points]
    y = [score for _, score in points]
    width, height = x[-1] - x[0], y[-1] - y[0]
    above = [(b - y[0]) / height - (a - x[0]) / width for a, b in zip(x, y, strict=True)]
    return max(range(len(points)), key=lambda i: (above[i], -i))
