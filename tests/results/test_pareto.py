"""The front and its hypervolume, against brute force and against Optuna's."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compress.sizes import Bin
from results.candidate import Candidate
from results.pareto import Front, front, front_indices, hypervolume, hypervolume_share, knee_index
from tests.results.examples import candidate

some_points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=25)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@settings(deadline=None)
@given(some_points)
def test_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    kept = front_indices(points)
    for index, point in enumerate(points):
        beaten = any(beats(other, point) for other in points)
        twin = any(points[k] == point for k in kept)
        assert twin != beaten
        assert not (beaten and index in kept)
    assert len({points[k] for k in kept}) == len(kept), "equal points are kept once"
    assert [points[k][0] for k in kept] == sorted(points[k][0] for k in kept)


@settings(deadline=None)
@given(some_points)
def test_hypervolume_counts_dominated_cells(points: list[tuple[int, int]]) -> None:
    worst = (10, 2)
    cells = sum(
        any(size <= x and score >= y + 1 for size, score in points)
        for x in range(worst[0])
        for y in range(worst[1], 12)
    )
    assert hypervolume(points, worst) == cells


@settings(deadline=None, max_examples=30)
@given(some_points.filter(lambda p: len(p) > 0))
def test_front_and_hypervolume_agree_with_optuna(points: list[tuple[int, int]]) -> None:
    import optuna
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_hypervolume_history

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "maximize"])
    for size, score in points:
        study.add_trial(optuna.trial.create_trial(values=(size, score)))
    assert {points[i] for i in front_indices(points)} == {tuple(trial.values) for trial in study.best_trials}
    axes = plot_hypervolume_history(study, [13.0, -1.0])
    assert hypervolume(points, (13.0, -1.0)) == axes.lines[0].get_ydata()[-1]
    pyplot.close(axes.figure)


def test_nothing_gives_nothing() -> None:
    assert front_indices([]) == []
    assert hypervolume([], (1.0, 0.0)) == 0.0


@settings(deadline=None)
@given(some_points, st.randoms())
def test_a_growing_front_is_the_front_of_all(points: list[tuple[int, int]], chance: Random) -> None:
    everything: list[Candidate] = []
    growing = Front()
    for number, (size, comet) in enumerate(points):
        status = chance.choice(["scored", "scored", "stopped", "failed"])
        added = candidate(f"c{number}", size, float(comet), status=status)
        before = [c.candidate for c in growing.members]
        changed = growing.add(added)
        everything.append(added)
        assert changed == (before != [c.candidate for c in growing.members])
        assert growing.members == front(everything)


def test_what_was_not_scored_on_everything_is_never_on_the_front() -> None:
    candidates = [
        candidate("stopped", 10, 0.99, status="stopped", rung="part"),
        candidate("held-out", 10, 0.99, status="held-out", rung="part", parent="scored"),
        candidate("failed", 10, 0.99, status="failed"),
        candidate("nan", 10, math.nan),
        candidate("scored", 20, 0.5),
    ]
    assert [c.candidate for c in front(candidates)] == ["scored"]
    assert hypervolume_share(candidates, [Bin("Bin5", 0, 40)], 1.0) == 0.25


def test_hypervolume_of_bins_counts_each_bin_by_itself() -> None:
    candidates = [candidate("a", 10, 0.5), candidate("b", 30, 1.0)]
    assert hypervolume_share(candidates, [Bin("x", 0, 20), Bin("y", 20, 40)], 1.0) == (10 * 0.5 + 10 * 1.0) / 40
    assert hypervolume_share(candidates, [], 1.0) == 0.0


def test_the_knee_is_where_the_curve_bends() -> None:
    sizes = [100, 200, 400, 800, 1600]
    assert knee_index(list(zip(sizes, [0.1, 0.7, 0.8, 0.85, 0.9], strict=True))) == 1
    assert knee_index(list(zip(sizes, [0.1, 0.2, 0.9, 0.91, 0.92], strict=True))) == 2


@settings(deadline=None)
@given(some_points)
def test_a_front_of_many_points_is_the_same(points: list[tuple[int, int]]) -> None:
    assert front_indices(points * 50) == front_indices(points), "of equal points the first"


@settings(deadline=None)
@given(some_points, st.data())
def test_what_is_not_a_number_is_never_on_a_front(points: list[tuple[int, int]], data: Any) -> None:
    mixed = [(size, math.nan if data.draw(st.booleans()) else float(score)) for size, score in points]
    numbers = [point for point in mixed if not math.isnan(point[1])]
    many = mixed * 50
    assert [many[i] for i in front_indices(many)] == [numbers[i] for i in front_indices(numbers)]
