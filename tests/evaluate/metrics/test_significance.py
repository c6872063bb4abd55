"""The bootstrap: intervals, and the paired test: exact or calibrated, and NaN is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from evaluate.metrics import significance
from evaluate.metrics.significance import interval, paired

SCORES = st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), min_size=1, max_size=40)


def test_interval_holds_the_mean_and_narrows_with_segments() -> None:
    generator = np.random.default_rng(0)
    few, many = generator.normal(0.7, 0.1, 30), generator.normal(0.7, 0.1, 3000)
    for scores in (few, many):
        low, high = interval(list(scores))
        assert low < scores.mean() < high
    assert np.ptp(interval(list(many))) < 0.2 * np.ptp(interval(list(few)))


def test_interval_is_as_wide_as_theory_says() -> None:
    scores = np.random.default_rng(1).normal(0.0, 1.0, 400)
    low, high = interval(list(scores))
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 20, rel=0.1)


@settings(max_examples=30, deadline=None)
@given(SCORES)
def test_swapping_the_systems_mirrors_everything(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = paired(first, second, 200), paired(second, first, 200)
    assert one.difference == pytest.approx(np.mean(first) - np.mean(second), abs=1e-12)
    assert one.difference == -other.difference
    assert one.low == pytest.approx(-other.high)
    assert one.high == pytest.approx(-other.low)
    assert one.p == other.p
    assert 0 < one.p <= 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1, 2), min_size=1, max_size=40))
def test_a_system_does_not_differ_from_itself(scores: list[float]) -> None:
    test = paired(scores, scores, 100)
    assert (test.difference, test.low, test.high, test.p) == (0, 0, 0, 1)


def test_a_constant_gain_is_certain() -> None:
    scores = np.random.default_rng(0).normal(0.7, 0.1, 100)
    test = paired(list(scores + 0.01), list(scores), 1000)
    assert test.difference == pytest.approx(0.01)
    assert test.low == pytest.approx(0.01)
    assert test.p == pytest.approx(1 / 1001)


def test_paired_interval_is_as_wide_as_theory_says_and_pairing_helps() -> None:
    generator = np.random.default_rng(1)
    hard = generator.normal(0.7, 0.2, 400)
    first, second = hard + generator.normal(0.01, 0.05, 400), hard + generator.normal(0, 0.05, 400)
    test = paired(list(first), list(second), 4000)
    width = 2 * 1.96 * (first - second).std() / 20
    assert test.high - test.low == pytest.approx(width, rel=0.1)
    assert width < 0.5 * 2 * 1.96 * np.hypot(first.std(), second.std()) / 20


def test_p_is_small_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    small = 0
    for _ in range(400):
        first, second = generator.normal(0, 1, (2, 60))
        small += paired(list(first), list(second), 200).p < 0.1
    assert 0.06 < small / 400 < 0.15


def test_the_same_seed_gives_the_same_figures_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.random.default_rng(3).normal(0, 1, (2, 50)).tolist()
    whole = paired(first, second)
    assert paired(first, second) == whole
    assert paired(first, second, seed=1) != whole
    monkeypatch.setattr(significance, "BLOCK", 170)
    assert paired(first, second) == whole


@pytest.mark.parametrize(
    ("first", "second", "count", "message"),
    [
        ([0.1, float("nan")], [0.1, 0.2], 10, "first system's score of segment 2 is not a number"),
        ([0.1, 0.2], [float("inf"), 0.2], 10, "second system's score of segment 1 is not a number"),
        ([0.1], [0.1, 0.2], 10, "one system has 1 scores, one 2"),
        ([], [], 10, "at least one segment"),
        ([0.1], [0.2], 0, "0 resamples"),
    ],
)
def test_refused(first: list[float], second: list[float], count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        paired(first, second, count)
