"""Integers that may grow only from so far on, and the least such distance that keeps within a limit."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.recovery.rounding import settled, within

CELLS = st.lists(st.tuples(st.integers(-5, 5), st.floats(-6, 6, width=32)), min_size=1, max_size=30)


@given(CELLS, st.floats(0.5, 8))
def test_only_growth_waits_and_never_goes_further(cells: list[tuple[int, float]], outward: float) -> None:
    begin, shift = (torch.tensor([cell[i] for cell in cells], dtype=torch.float32) for i in (0, 1))
    near, found = settled(begin, shift), settled(begin, shift, outward)
    assert torch.equal(near, (begin + shift).round())
    assert torch.equal(found, found.round())
    smaller = near.abs() <= begin.abs()
    assert torch.equal(found[smaller], near[smaller])
    assert bool(((found - begin).abs() <= (near - begin).abs()).all())
    assert torch.equal(settled(begin, torch.zeros_like(shift), outward), begin)


@given(CELLS)
def test_growth_that_waits_for_ever_leaves_no_integer_larger(cells: list[tuple[int, float]]) -> None:
    begin, shift = (torch.tensor([cell[i] for cell in cells], dtype=torch.float32) for i in (0, 1))
    found = settled(begin, shift, 100.0)
    grown = settled(begin, shift).abs() > begin.abs()
    assert torch.equal(found[grown], begin[grown])


@given(st.floats(0.5, 60), st.integers(0, 1000))
def test_the_least_distance_within_a_limit_is_found(edge: float, limit: int) -> None:
    found = within(limit, lambda at: limit if at >= edge else limit + 1)
    assert edge <= found <= edge + max(0.02, 0.02 * edge)
    assert within(limit, lambda _: limit) == 0.5
    assert within(limit, lambda _: limit + 1) == math.inf
