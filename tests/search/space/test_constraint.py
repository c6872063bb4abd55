"""Filling and repairing end inside the bin, and bins out of reach are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from compress.sizes import Bin
from search.space.space import Choice
from tests.search.worlds import middle_bin, some_choice, world


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_repair_ends_inside_the_bin(seed: int, trims: bool) -> None:
    w = world(seed=seed % 7, trims=trims)
    size_bin = middle_bin(w)
    fixed = w.constraint.repair(some_choice(w, seed), size_bin, np.random.default_rng(seed))
    assert fixed is not None
    assert size_bin.holds(w.constraint.size(fixed))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 1.0), st.booleans())
def test_fill_ends_inside_the_bin_at_most_at_the_target(seed: int, share: float, trims: bool) -> None:
    w = world(seed=seed, trims=trims)
    size_bin = middle_bin(w)
    target = size_bin.low + share * (size_bin.high - 1 - size_bin.low)
    choice = w.constraint.fill(w.truth, target, size_bin)
    if choice is not None:
        assert size_bin.low <= w.constraint.size(choice) <= target


def test_a_bin_out_of_reach_is_refused_with_what_could_be() -> None:
    w = world()
    least, most = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    with pytest.raises(UserError, match=f"Bin5 .* cannot be reached.*{least:,} to {most:,}"):
        w.constraint.check_reachable((Bin("Bin5", 0, least),))
    w.constraint.check_reachable((Bin("Bin2", least, least + 1), Bin("Bin1", most, most + 1)))


def test_a_smaller_vocabulary_reaches_smaller_bins() -> None:
    w, full = world(trims=True), world()
    least = w.constraint.size(w.constraint.smallest())
    assert w.constraint.smallest().vocabulary == 1
    assert w.constraint.largest().vocabulary == 0
    assert w.constraint.smallest(drop=False).vocabulary == 1
    assert least < full.constraint.size(full.constraint.smallest())
    size_bin = Bin("Bin5", 0, full.constraint.size(full.constraint.smallest()))
    w.constraint.check_reachable((size_bin,))
    with pytest.raises(UserError, match="cannot be reached"):
        full.constraint.check_reachable((size_bin,))
    fixed = w.constraint.repair(
        Choice(some_choice(w, 3).columns, some_choice(w, 3).dropped), size_bin, np.random.default_rng(0)
    )
    assert fixed is not None
    assert fixed.vocabulary == 1
    assert size_bin.holds(w.constraint.size(fixed))
