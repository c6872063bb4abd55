"""The front and its hypervolume, against brute force and against Optuna's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from results.front import front_indices, hypervolume

points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=25)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points)
def test_front_is_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    kept = front_indices(found)
    for index, point in enumerate(found):
        beaten = any(beats(other, point) for other in found)
        twin = any(found[k] == point for k in kept)
        assert twin != beaten
        assert not (beaten and index in kept)
    assert len({found[k] for k in kept}) == len(kept), "equal points are kept once"
    assert [found[k][0] for k in kept] == sorted(found[k][0] for k in kept)


@given(points)
def test_hypervolume_counts_dominated_cells(found: list[tuple[int, int]]) -> None:
    worst = (10, 2)
    cells = sum(
        any(size <= x and score >= y + 1 for size, score in found) for x in range(worst[0]) for y in range(worst[1], 12)
    )
    assert hypervolume(found, worst) == cells


@given(points.filter(lambda p: len(p) > 0))
def test_hypervolume_agrees_with_optuna(found: list[tuple[int, int]]) -> None:
    from optuna._hypervolume import compute_hypervolume

    losses = np.array([(size, -score) for size, score in found], dtype=float)
    reference = np.array([13.0, 1.0])
    assert hypervolume(found, (13.0, -1.0)) == compute_hypervolume(losses, reference)


def test_nothing_gives_nothing() -> None:
    assert front_indices([]) == []
    assert hypervolume([], (1.0, 0.0)) == 0.0
