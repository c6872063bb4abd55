"""A model in memory: swaps write in place, whatever is read ahead or kept, and the original is no swap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import compress
from compress.codecs.raw import FORMATS
from compress.kernels import dispatch
from compress.policy.recipes import original_policy
from compress.resident import Resident


@pytest.fixture(scope="module")
def source(folder: Path) -> compress.Source:
    return compress.Source.open(folder)


def policies(source: compress.Source) -> list[compress.Policy]:
    """Three, with levels of several codecs; the last is the first again."""
    original = original_policy(source)
    names = list(source.structure.units)
    first = dict.fromkeys(names, "grid@3") | {names[0]: "nf4", names[-1]: "int8"}
    second = dict.fromkeys(names, "grid@2:trellis") | {names[1]: "grid@3"}
    return [replace(original, levels=levels) for levels in (first, second, first)]


def weights(resident: Resident) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in resident.model.named_parameters()}


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 1 << 30])
@pytest.mark.parametrize("threads", [1, 3])
def test_reading_ahead_and_keeping_change_nothing(
    source: compress.Source, store_folder: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int, threads: int
) -> None:
    store = compress.Store(store_folder)
    monkeypatch.setattr(dispatch, "threads", lambda: threads)
    resident = Resident(source, store, cache_bytes=cache_bytes)
    for policy in policies(source):
        resident.apply(policy)
        fresh = Resident(source, store)
        fresh.apply(policy)
        expected = weights(fresh)
        assert all(torch.equal(value, expected[name]) for name, value in weights(resident).items())


def test_a_level_that_comes_again_is_not_read_again(
    source: compress.Source, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Resident(source, compress.Store(store_folder), cache_bytes=1 << 30)
    first, second, _ = policies(source)
    resident.apply(first)
    resident.apply(second)
    monkeypatch.setattr(compress.Store, "get", lambda *_: pytest.fail("the store was read"))
    assert set(resident.apply(first)) == {unit for unit in first.levels if first.levels[unit] != second.levels[unit]}


def test_swaps_write_into_the_memory_that_is_there(source: compress.Source, store_folder: Path) -> None:
    resident = Resident(source, compress.Store(store_folder))
    before = {name: value.data_ptr() for name, value in resident.model.named_parameters()}
    resident.apply(policies(source)[0])
    resident.restore()
    assert {name: value.data_ptr() for name, value in resident.model.named_parameters()} == before
    read = weights(Resident(source, resident.store))
    assert all(torch.equal(value, read[name]) for name, value in weights(resident).items())


def test_raw_at_the_dtype_of_the_checkpoint_is_the_original(source: compress.Source, tmp_path: Path) -> None:
    store = compress.Store(tmp_path)
    resident = Resident(source, store)
    same = original_policy(source)
    assert set(same.levels.values()) == {f"raw:{FORMATS[source.dtype]}"}
    assert resident.apply(same) == ()
    assert not any(tmp_path.rglob("*")), "and nothing was written"
    name = next(iter(source.structure.units))
    assert resident.apply(replace(same, levels={**same.levels, name: "grid@3"})) == (name,)
    assert resident.apply(same) == (name,)
