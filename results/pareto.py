"""The Pareto front of COMET against bytes, and its hypervolume. Pure functions on plain numbers.

A point is (bytes, comet); fewer bytes and more COMET are better. In two dimensions one sort and one sweep are enough,
O(n log n), and a front that grows by one point finds its place by bisection.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from compress.sizes import Bin
from results.candidate import Candidate

Point = tuple[float, float]
ARRAYS_FROM = 500  # points; NumPy's overhead pays from about here


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats in both, by rising bytes. Of equal points the first is kept."""
    return _front_by_arrays(points) if len(points) > ARRAYS_FROM else _front_by_loop(points)


def _front_by_loop(points: Sequence[Point]) -> list[int]:
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    best = float("-inf")
    for index in order:
        if points[index][1] > best:
            kept.append(index)
            best = points[index][1]
    return kept


def _front_by_arrays(points: Sequence[Point]) -> list[int]:
    import numpy as np

    sizes, scores = np.asarray(points, dtype=float).reshape(-1, 2).T
    order = np.lexsort((-scores, sizes))  # stable: of equal points the first comes first
    ordered = scores[order]
    before = np.fmax.accumulate(np.concatenate([[-np.inf], ordered]))[:-1]
    return [int(index) for index in order[ordered > before]]


def front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The scored candidates that no other beats, by rising bytes."""
    scored = [c for c in candidates if c.comparable]
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


def hypervolume_share(candidates: Iterable[Candidate], bins: Sequence[Bin], top: float) -> float:
    """Share of (bins × COMET from 0 to `top`) that the candidates inside the bins dominate."""
    scored = [c for c in candidates if c.comparable]
    area = total = 0.0
    for each in bins:
        area += hypervolume([(c.bytes, c.comet) for c in scored if each.holds(c.bytes)], (each.high, 0.0))
        total += (each.high - each.low) * top
    return area / total if total else 0.0


class Front:
    """A front that grows by one candidate at a time, in O(log n) where nothing changes. Equal to `front` of all."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self.members: list[Candidate] = []
        self._sizes: list[int] = []
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> bool:
        """Adds the candidate if no member beats it, and removes those that it beats. Whether the front changed."""
        if not candidate.comparable:
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
    """The knee of a front by rising bytes: past it, more bytes buy less COMET than on average. Needs three points.

    The point farthest above the line from the first to the last, with log bytes and both axes scaled to 1.
    """
    assert len(points) > 2
    x = [math.log(max(size, 1)) for size, _ in points]
    y = [score for _, score in points]
    width, height = x[-1] - x[0], y[-1] - y[0]
    above = [(b - y[0]) / height - (a - x[0]) / width for a, b in zip(x, y, strict=True)]
    return max(range(len(points)), key=lambda i: (above[i], -i))
