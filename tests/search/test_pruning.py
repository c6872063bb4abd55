"""Pruning: forecasts from KL, paired chances, and the counts of the rungs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.candidate import FAILED, PRUNED, SCORED, Candidate
from search.pruning import Forecast, RungStats, choose_part, paired_chance
from tests.results.examples import candidate


def fitted(count: int = 40, original: float = 0.9) -> Forecast:
    """COMET falls with KL as exp(−0.8 KL^0.9), a little off each time."""
    forecast = Forecast(original)
    generator = np.random.default_rng(0)
    for kl in np.geomspace(1e-3, 3, count):
        forecast.learn(kl, original * float(np.exp(-0.8 * kl**0.9 * np.exp(0.1 * generator.standard_normal()))))
    return forecast


@given(st.floats(1e-3, 2.0), st.floats(1.05, 3.0))
def test_a_smaller_kl_has_the_better_chance(kl: float, factor: float) -> None:
    forecast = fitted()
    assert forecast.chance(kl, 0.7) >= forecast.chance(kl * factor, 0.7) - 0.02


def test_chances_follow_what_was_scored() -> None:
    forecast = fitted()
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
    """Of many sets of 40 of which 10 are seen, the chance is the share in which the candidate won in the end."""
    generator = np.random.default_rng(1)
    chances, wins = [], []
    for _ in range(4000):
        difference = generator.normal(0.1 * generator.standard_normal(), 0.3, 40)
        chances.append(paired_chance(difference[:10].tolist(), [0.0] * 10, 40))
        wins.append(difference.mean() > 0)
    predicted, actual = np.array(chances), np.array(wins)
    for low in (0.05, 0.3, 0.6, 0.8):
        inside = (predicted >= low) & (predicted < low + 0.15)
        assert abs(actual[inside].mean() - predicted[inside].mean()) < 0.08


@given(st.integers(1, 600), st.floats(0.05, 0.9))
def test_part_and_rest_are_all(total: int, share: float) -> None:
    part, rest = choose_part(total, share)
    assert sorted(part + rest) == list(range(total))
    assert len(part) == pytest.approx(max(1, total * share), abs=1)


def test_the_share_that_is_scored_is_held() -> None:
    rung_stats = RungStats()
    for _ in range(100):
        rung_stats.suggested += 1
        rung_stats.full += rung_stats.may_score()
    assert 25 <= rung_stats.full <= 28
    rung_stats.at_kl = rung_stats.suggested - rung_stats.full

    assert rung_stats.summary().startswith(f"pruned {rung_stats.at_kl} of 100")
    assert RungStats().summary() == ""


def row(name: str, policy: str, status: str, rung: str, kl: float = 0.1, audited: bool = False) -> Candidate:
    return replace(candidate(name), policy=policy, status=status, rung=rung, kl=kl, audited=audited)


def test_counts_come_from_the_rows() -> None:
    rows = [
        row("c1", "a", PRUNED, "kl"),
        row("c2", "b", SCORED, "all"),
        row("c3", "c", PRUNED, "part"),
        row("c4", "a", SCORED, "all"),  # the pruned one again, as the best that was never scored
        row("c5", "d", SCORED, "all", audited=True),
        row("c6", "e", SCORED, "all", audited=True),
        row("c7", "f", FAILED, "all", kl=math.nan),
        row("c8", "g", FAILED, "all"),
    ]
    stats = RungStats.of(rows, {"c2", "c5"})
    assert stats == RungStats(suggested=7, at_kl=1, at_part=1, full=5, audited=2, mistaken=1)
    expected = (
        "pruned 2 of 7 (29%): 1 at KL, 1 at part; as a check, 2 of them were scored all the same: 1 was Pareto-optimal"
    )
    assert stats.summary() == expected
