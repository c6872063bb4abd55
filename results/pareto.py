"""The Pareto front of COMET against bytes, and its hypervolume. Pure functions on plain numbers.

A point is (bytes, comet); fewer bytes and more COMET are better. In two dimensions one sort and one sweep are enough,
O(n log n), and a front that grows by one point finds its place by bisection.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import attrgetter

import numpy as np

from compress.sizes import Bin
from results.candidate import Candidate

Point = tuple[float, float]


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats in both, by rising bytes. Of equal points the first is kept."""
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
    for (size, score), (right, _) in pairwise([*inside, worst]):
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
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> bool:
        """Adds the candidate if no member beats it, and removes those that it beats. Whether the front changed."""
        if not candidate.comparable:
            return False
        at = bisect_right(self.members, candidate.bytes, key=attrgetter("bytes"))  # members before it are no larger
        if at and self.members[at - 1].comet >= candidate.comet:
            return False
        start = end = bisect_left(self.members, candidate.bytes, key=attrgetter("bytes"))
        while end < len(self.members) and self.members[end].comet <= candidate.comet:
            end += 1
        self.members[start:end] = [candidate]
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
