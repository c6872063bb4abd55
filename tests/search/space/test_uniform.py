"""The plain way: its choices lie inside the bins, fill them, and are as uniform as their names say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.sizes import Bin
from search.space.uniform import GAP, LOW_END, UniformPolicies, first_choices
from tests.search.worlds import middle_bin, world


@given(st.integers(0, 50), st.integers(1, 8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_choices_are_inside_the_bins_fill_them_and_mix_neighbouring_rates(seed: int, layers: int, trims: bool) -> None:
    made = world(layers, seed, trims=trims)
    constraint, size_bin = made.constraint, middle_bin(made)
    choices = first_choices(constraint, made.sensitivities, [size_bin], 20)
    uniform = UniformPolicies(constraint, made.sensitivities)
    rates = [int(choice.columns[0]) for choice in uniform.rates]
    sizes = [constraint.size(choice) for choice in choices]
    assert all(size_bin.holds(size) for size in sizes)
    assert len({made.space.key(choice) for choice in choices}) == len(choices)
    for choice in choices:
        assert not choice.dropped.any()
        assert choice.vocabulary == 0
        used = sorted(rates.index(column) for column in set(choice.columns.tolist()))
        assert used in ([used[0]], [used[0], used[0] + 1])
    if choices:
        keys = {made.space.key(choice) for choice in choices}
        for rate, size in zip(uniform.rates, uniform.sizes, strict=True):
            assert not size_bin.holds(size) or made.space.key(rate) in keys
        assert max(sizes) == sizes[0], "the first one goes to the top"


@given(st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_top_is_full_and_no_two_sizes_are_far_apart(seed: int) -> None:
    made = world(6, seed)
    constraint = made.constraint
    uniform = UniformPolicies(constraint, made.sensitivities)
    size_bin = Bin("Bin2", uniform.sizes[0] - 50, uniform.sizes[2])
    choices = first_choices(constraint, made.sensitivities, [size_bin], 50)
    sizes = sorted(constraint.size(choice) for choice in choices)
    space = made.space
    top = next(choice for choice in choices if constraint.size(choice) == sizes[-1])
    rows = np.arange(len(space.units))
    left = size_bin.high - 1 - sizes[-1]
    higher = uniform.rates[2].columns
    steps = space.sizes[rows, higher] - space.sizes[rows, top.columns]
    assert not ((steps > 0) & (steps <= left - 60)).any(), "no unit could take the higher rate"
    biggest = max(space.sizes[:, column].max() for column in range(len(space.levels)))
    assert np.diff(sizes).max() <= GAP * (size_bin.high - size_bin.low) + biggest


def test_units_that_lack_a_level_take_the_nearest_one() -> None:
    made = world(3)
    made.space.sizes[2, 1] = np.inf
    constraint = made.constraint
    rates = UniformPolicies(constraint, made.sensitivities).rates
    grid2 = next(choice for choice in rates if choice.columns[0] == 1)
    assert grid2.columns[2] in (0, 2)
    assert np.isfinite(made.space.sizes[np.arange(len(grid2.columns)), grid2.columns]).all()


def test_a_level_that_another_beats_in_both_is_no_rate() -> None:
    made = world(3)
    made.sensitivities.levels[:, 3] = made.sensitivities.levels[:, 0] * 2  # grid@4 damages more than grid@1
    rates = UniformPolicies(made.constraint, made.sensitivities).rates
    assert [int(choice.columns[0]) for choice in rates] == [0, 1, 2, 4]


def test_a_bin_below_every_uniform_policy_has_none() -> None:
    made = world(6)
    smallest = UniformPolicies(made.constraint, made.sensitivities).sizes[0]
    assert first_choices(made.constraint, made.sensitivities, [Bin("Bin3", smallest // 2, smallest)], 9) == []


@pytest.mark.parametrize("most", [0, 1, 2, 3, 100])
def test_there_are_at_most_so_many_but_one_a_bin(most: int) -> None:
    made = world(6)
    whole = middle_bin(made)
    half = (whole.low + whole.high) // 2
    bins = [Bin("Bin2", half, whole.high), Bin("Bin3", whole.low, half)]
    choices = first_choices(made.constraint, made.sensitivities, bins, most)
    assert len(choices) <= max(most, 2)
    sizes = [made.constraint.size(choice) for choice in choices[:2]]
    assert [each.holds(size) for each, size in zip(bins, sizes, strict=True)] == [True, True]


def test_the_smallest_is_at_the_lower_end() -> None:
    made = world(8)
    uniform = UniformPolicies(made.constraint, made.sensitivities)
    size_bin = Bin("Bin2", uniform.sizes[0] + 500, uniform.sizes[2])
    choice = uniform.at_most(size_bin.low + LOW_END * (size_bin.high - size_bin.low), size_bin)
    assert choice is None or size_bin.holds(made.constraint.size(choice))
