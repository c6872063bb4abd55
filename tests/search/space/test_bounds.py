"""Bounds before anything is encoded: never tighter than the truth, and tight enough to refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

import compress
import embedded
from compress.errors import UserError
from compress.policy.recipes import recipe
from compress.sizes import Bin, bins_of
from search.space.bounds import bounds, check_reachable, parts_of, parts_without_weights


@pytest.fixture(scope="module")
def source() -> compress.Source:
    return compress.Source.open(embedded.MODEL)


def test_policies_lie_within_the_bounds(source: compress.Source, tmp_path: Path) -> None:
    store = compress.Store(tmp_path)
    levels = ("raw:bf16", "int8", "digits:2", "rtn:4:g32")
    names = ("full", "scripts:en,de")
    least, most = bounds(source.structure, parts_of(source, names), levels, {}, True, (1024, 677))
    droppable = tuple(layer.name for layer in source.structure.layers if layer.index > 0)
    for level in levels:
        actions = recipe(f"uniform:{level}", source.structure, source.digest).levels
        actions = {unit: level if action == level else "raw:bf16" for unit, action in actions.items()}
        for dropped, vocabulary in (((), "full"), (droppable, "scripts:en,de")):
            policy = compress.Policy(source.digest, actions, dropped, vocabulary)
            wanted = compress.EncodeOptions(vocabulary)
            for unit in policy.remaining_units(source.structure):
                compress.build(source, unit.name, policy.levels[unit.name], store, options=wanted)
            assert least <= compress.Ledger(source, store, levels).predict(policy) <= most


def test_a_smaller_vocabulary_and_drops_reach_lower_and_frozen_units_do_not(source: compress.Source) -> None:
    levels = ("raw:bf16", "grid@1")
    full, both = parts_of(source, ("full",)), parts_of(source, ("full", "scripts:en,de"))
    least, most = bounds(source.structure, full, levels, {}, True, (1024,))
    assert bounds(source.structure, both, levels, {}, True, (1024, 677))[0] < least
    assert bounds(source.structure, full, levels, {}, False, (1024,))[0] > 2 * least
    frozen = {unit: "raw:bf16" for unit in source.structure.units if unit.startswith("lm.")}
    assert bounds(source.structure, full, levels, frozen, True, (1024,))[0] > 5 * least
    assert bounds(source.structure, full, ("grid@1",), {}, True, (1024,))[1] < most / 4


def test_bounds_without_weights_enclose_those_with_them(source: compress.Source) -> None:
    levels, names, tokens = ("raw:bf16", "grid@1"), ("full", "scripts:en,de"), (1024, 677)
    loose = parts_without_weights(source, names, bytes_per_parameter=2)
    for drop in (False, True):
        least, most = bounds(source.structure, parts_of(source, names), levels, {}, drop, tokens)
        low, high = bounds(source.structure, loose, levels, {}, drop, tokens)
        assert 0.9 * least < low <= least
        assert most <= high < 1.1 * most


def test_bins_out_of_reach_are_named_with_what_could_be(source: compress.Source) -> None:
    bins = {each.name: each for each in bins_of(source.original_bytes)}
    levels = ("raw:bf16", "grid@1", "grid@2")
    least, most = bounds(source.structure, parts_of(source, ("full",)), levels, {}, True, (1024,))
    check_reachable([bins["Bin1"], bins["Bin2"], bins["Bin3"], bins["Bin4"]], least, most)
    with pytest.raises(UserError, match=f"Bin5 .* cannot be reached.* about {least:,} to {most:,} bytes"):
        check_reachable([bins["Bin5"]], least, most)
    with pytest.raises(UserError, match=r"huge .* cannot be reached"):
        check_reachable([Bin("huge", most + 1, 10 * most)], least, most)


def test_a_unit_that_no_level_fits(source: compress.Source) -> None:
    with pytest.raises(UserError, match="none of the levels rtn:4:g4096 fits unit"):
        bounds(source.structure, parts_of(source, ("full",)), ("rtn:4:g4096",), {}, True, (1024,))
