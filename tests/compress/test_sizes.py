"""Bins: a boundary value belongs to the larger bin; small models have small bins."""

from __future__ import annotations

import itertools

import pytest

from compress.errors import UserError
from compress.sizes import FULL_SIZE, bin_of, bins_of, parse_bins


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (4_000_000_000, "-"),
        (3_999_999_999, "Bin1"),
        (2_000_000_000, "Bin1"),
        (1_999_999_999, "Bin2"),
        (1_000_000_000, "Bin2"),
        (500_000_000, "Bin3"),
        (499_999_999, "Bin4"),
        (200_000_000, "Bin4"),
        (199_999_999, "Bin5"),
    ],
)
def test_boundaries_at_full_size(size: int, name: str) -> None:
    assert bin_of(size, FULL_SIZE) == name


def test_small_models_have_bins_in_proportion_without_gaps() -> None:
    bins = bins_of(4_000_000)
    assert bins[1].high / 4_000_000 == pytest.approx(2e9 / FULL_SIZE, rel=1e-5)
    assert all(larger.low == smaller.high for larger, smaller in itertools.pairwise(bins))


def test_models_near_full_size_keep_the_bins_as_they_are() -> None:
    assert bins_of(FULL_SIZE // 2 + 1) == bins_of(FULL_SIZE)


def test_unknown_bin_is_refused_with_what_is_known() -> None:
    with pytest.raises(UserError, match=r"unknown bin 'Bin9'.*Bin1"):
        parse_bins(["Bin9"], FULL_SIZE)


def test_all_and_several() -> None:
    assert len(parse_bins(["all"], FULL_SIZE)) == 5
    assert [b.name for b in parse_bins(["Bin3", "Bin1"], FULL_SIZE)] == ["Bin1", "Bin3"]
