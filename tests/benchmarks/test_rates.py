"""Rates by unit: the mean is kept, more bits where they reduce more damage, and no better allocation exists."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rates import STEP, by_unit
from compress.codecs.grid.grid import HIGHEST, LOWEST
from compress.errors import UserError

UNITS = st.dictionaries(
    st.text(min_size=1, max_size=3),
    st.tuples(st.floats(1e-8, 1e3), st.integers(1, 10**9)),
    min_size=1,
    max_size=12,
)


def mean(rates: dict[str, float], weights: dict[str, int]) -> float:
    return sum(rates[unit] * weights[unit] for unit in rates) / sum(weights.values())


@given(UNITS, st.floats(LOWEST, HIGHEST))
def test_the_mean_is_kept(units: dict[str, tuple[float, int]], rate: float) -> None:
    weights = {unit: count for unit, (_, count) in units.items()}
    rates = by_unit({unit: {3.0: damage} for unit, (damage, _) in units.items()}, weights, rate)
    assert mean(rates, weights) <= rate + 1e-9
    assert all(LOWEST <= value <= HIGHEST for value in rates.values())
    whole = [value / STEP for value in rates.values()]
    assert all(math.isclose(value, round(value), abs_tol=1e-6) for value in whole)
    rising = sorted(rates, key=lambda unit: units[unit][0] / units[unit][1])
    assert [rates[unit] for unit in rising] == sorted(rates.values()), "more bits where a weight does more damage"


@given(UNITS, st.floats(2.0, 6.0))
def test_no_trade_of_bits_does_less_damage(units: dict[str, tuple[float, int]], rate: float) -> None:
    """With damages that fall fourfold a bit, a bit moved from one weight to another does not help, but for rounding."""
    weights = {unit: count for unit, (_, count) in units.items()}
    rates = by_unit({unit: {3.0: damage} for unit, (damage, _) in units.items()}, weights, rate, step=1e-3)
    slope = {unit: units[unit][0] / units[unit][1] * 4 ** (3.0 - value) for unit, value in rates.items()}
    free = [unit for unit, value in rates.items() if LOWEST + 0.01 < value < HIGHEST - 0.01]
    for unit in free:
        assert math.isclose(slope[unit], slope[free[0]], rel_tol=0.01)
    for unit, value in rates.items():
        if free and value >= HIGHEST - 0.01:
            assert slope[unit] > 0.98 * slope[free[0]]
        if free and value <= LOWEST + 0.01:
            assert slope[unit] < 1.02 * slope[free[0]]


def test_several_measurements_even_out() -> None:
    weights = {"a": 100, "b": 100}
    exact = {3.0: 0.1, 4.0: 0.025}
    assert by_unit({"a": exact, "b": exact}, weights, 3.0) == {"a": 3.0, "b": 3.0}
    noisy = {"a": {3.0: 0.1 * 4, 4.0: 0.025}, "b": {3.0: 0.1, 4.0: 0.025}}
    assert by_unit(noisy, weights, 3.0) == {"a": 3.25, "b": 2.75}
    assert by_unit({"a": {3.0: 0.1 * 16}, "b": {3.0: 0.1}}, weights, 3.0) == {"a": 4.0, "b": 2.0}


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="mean rate of 9 bits"):
        by_unit({"a": {3.0: 0.1}}, {"a": 1}, 9.0)
    with pytest.raises(UserError, match="no damage was measured for b"):
        by_unit({"a": {3.0: 0.1}, "b": {}}, {"a": 1, "b": 1}, 3.0)
