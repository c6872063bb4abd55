"""The front of COMET against bytes, and the hypervolume under it. Pure functions on plain numbers.

A point is (bytes, comet): fewer bytes and more COMET are better. Two dimensions need no general algorithm: one sort
and one sweep, O(n log n).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from results.candidate import SCORED, Candidate

Point = tuple[float, float]


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the points no other beats in both, by rising bytes. Of equal points the first one stands."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    best = float("-inf")
    for index in order:
        if points[index][1] > best:
            kept.append(index)
            best = points[index][1]
    return kept


def front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The scored candidates no other beats, by rising bytes."""
    scored = [c for c in candidates if c.status == SCORED and math.isfinite(c.comet)]
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
