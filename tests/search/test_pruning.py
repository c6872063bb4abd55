"""Rungs: forecasts from KL, paired chances, and the record of who was stopped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.pruning import Forecast, RungStats, choose_part, paired_chance


def taught(count: int = 40, original: float = 0.9) -> Forecast:
    """COMET falls with KL as exp(−0.8 KL^0.9), a little off each time."""
    forecast = Forecast(original)
    dice = np.random.default_rng(0)
    for kl in np.geomspace(1e-3, 3, count):
        forecast.learn(kl, original * float(np.exp(-0.8 * kl**0.9 * np.exp(0.1 * dice.standard_normal()))))
    return forecast


@given(st.floats(1e-3, 2.0), st.floats(1.05, 3.0))
def test_a_smaller_kl_has_the_better_chance(kl: float, factor: float) -> None:
    forecast = taught()
    assert forecast.chance(kl, 0.7) >= forecast.chance(kl * factor, 0.7) - 0.02


def test_chances_follow_what_was_scored() -> None:
    forecast = taught()
    assert forecast.chance(0.05, 0.5) > 0.95
    assert forecast.chance(1.5, 0.8) < 0.05
    even = 0.9 * float(np.exp(-0.8 * 0.5**0.9))
    assert 0.3 < forecast.chance(0.5, even) < 0.7


def test_without_scores_a_forecast_is_loose() -> None:
    forecast = Forecast(0.9)
    assert 0.05 < forecast.chance(0.1, 0.7) < 0.995


@given(st.integers(2, 30), st.integers(0, 2**31))
def test_paired_chance_knows_the_winner_when_all_is_seen(count: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).random((2, count))
    assert paired_chance(first.tolist(), second.tolist(), count) == float(first.sum() > second.sum())


def test_paired_chance_is_the_share_of_times() -> None:
    """Of many sets of 40 of which 10 are seen, the chance told is the share in which the candidate won in the end."""
    dice = np.random.default_rng(1)
    told, won = [], []
    for _ in range(4000):
        difference = dice.normal(0.1 * dice.standard_normal(), 0.3, 40)
        told.append(paired_chance(difference[:10].tolist(), [0.0] * 10, 40))
        won.append(difference.mean() > 0)
    chances, wins = np.array(told), np.array(won)
    for low in (0.05, 0.3, 0.6, 0.8):
        inside = (chances >= low) & (chances < low + 0.15)
        assert abs(wins[inside].mean() - chances[inside].mean()) < 0.08


@given(st.integers(1, 600), st.floats(0.05, 0.9))
def test_part_and_rest_are_all(total: int, share: float) -> None:
    part, rest = choose_part(total, share)
    assert sorted(part + rest) == list(range(total))
    assert len(part) == pytest.approx(max(1, total * share), abs=1)


def test_the_share_that_is_scored_is_held() -> None:
    rung_stats = RungStats()
    for _ in range(100):
        rung_stats.asked += 1
        rung_stats.full += rung_stats.may_score()
    assert 25 <= rung_stats.full <= 28
    rung_stats.at_kl = rung_stats.asked - rung_stats.full
    assert "stopped early" in rung_stats.told()
    assert RungStats().told() == ""
