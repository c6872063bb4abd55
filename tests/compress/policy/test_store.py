"""The store: one entry a variant, whoever writes it, however often, and whatever happens to the disk."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from compress.errors import UserError
from compress.model.source import Source
from compress.policy.ledger import Ledger
from compress.policy.store import Store
from compress.policy.variant import build, encode_unit, is_original, variant_key, variant_payload
from tests.forked import start

KEY = "0123456789" * 4


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["{}", "file://{}", "memory://{}"])
def test_what_is_put_is_what_is_got(url: str, tmp_path: Path) -> None:
    store = Store(url.format(tmp_path))
    assert store.get(KEY) is None
    assert store.size(KEY) is None
    assert store.entry(KEY) is None
    store.put(KEY, b"payload")
    assert store.get(KEY) == b"payload"
    assert store.size(KEY) == 7
    entry = store.entry(KEY)
    assert entry is not None
    assert entry[0] == 7
    assert pickle.loads(pickle.dumps(store)).get(KEY) == b"payload"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "head"])
def test_a_damaged_entry_is_noticed_and_rebuilt(damage: str, folder: Path, tmp_path: Path) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    first = build(source, "head", "grid@2", store)
    [path] = files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "flip": data[:-5] + bytes((data[-5] ^ 4,)) + data[-4:],
            "cut": data[:-3],
            "empty": b"",
            "head": b"x" + data[1:],
        }[damage]
    )
    assert store.get(first.key) is None
    assert build(source, "head", "grid@2", store) == first
    assert store.get(first.key) is not None


def test_sizes_need_no_decoding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    variant = build(source, "head", "grid@2", store)
    monkeypatch.setattr(Store, "get", lambda *_: pytest.fail("a payload was read"))
    assert store.size(variant.key) == variant.nbytes
    assert Ledger(source, store, ["grid@2"]).size("head", "grid@2") == variant.nbytes


def test_the_original_needs_no_copy_in_the_store(folder: Path, tmp_path: Path) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    unit = source.structure.unit("head")
    same, other = sorted(("raw:fp32", "raw:bf16"), key=lambda level: not is_original(source, unit, level))
    variants = [build(source, "head", level, store) for level in (same, other)]
    ledger = Ledger(source, store, [same, other])
    for variant in variants:
        payload = variant_payload(source, unit, variant.level, store)
        assert ledger.size("head", variant.level) == variant.nbytes == len(payload)
    assert store.size(variants[0].key) is None
    assert store.size(variants[1].key) == variants[1].nbytes
    assert build(source, "head", same, store) == variants[0]


def test_a_copy_of_the_original_that_an_earlier_version_stored_is_used(folder: Path, tmp_path: Path) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    unit = source.structure.unit("head")
    level = next(level for level in ("raw:fp32", "raw:bf16") if is_original(source, unit, level))
    payload = encode_unit(source, unit, level, None)
    store.put(variant_key(source, unit, level), payload)
    assert Ledger(source, store, [level]).size("head", level) == len(payload)
    assert variant_payload(source, unit, level, store) == payload


def test_a_variant_that_was_not_built_is_asked_for(folder: Path, tmp_path: Path) -> None:
    ledger = Ledger(Source.open(folder), Store(tmp_path), ["grid@2"])
    with pytest.raises(UserError, match="build it first"):
        ledger.size("head", "grid@2")


def test_equal_tensors_share_a_variant_and_others_do_not(folder: Path) -> None:
    source, again = Source.open(folder), Source.open(folder)
    unit = source.structure.unit("lm.0.mlp")
    keys = {variant_key(source, unit, level) for level in ("grid@2", "grid@2.0", "grid@2.5", "nf4")}
    assert len(keys) == 3
    assert variant_key(again, unit, "nf4") == variant_key(source, unit, "nf4")
    assert variant_key(source, source.structure.unit("lm.1.mlp"), "nf4") != variant_key(source, unit, "nf4")


def build_three(folder: Path, store: Path, told: Path) -> None:
    source = Source.open(folder)
    built = [build(source, unit, "grid@2", Store(store)) for unit in ("head", "lm.0.mlp", "lm.1.mlp")]
    told.write_text(str([variant.nbytes for variant in built]))


def test_many_processes_build_at_once(folder: Path, tmp_path: Path) -> None:
    told = [tmp_path / "one", tmp_path / "other"]
    children = [start(build_three, folder, tmp_path / "store", path) for path in told]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert len({path.read_text() for path in told}) == 1
    assert len(files(tmp_path / "store")) == 3
    assert not [path for path in files(tmp_path / "store") if path.name.endswith(".partial")]


def test_a_store_that_cannot_be_written_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the store"):
        build(Source.open(folder), "head", "int8", Store(tmp_path / "file"))


def test_keys_are_no_paths(tmp_path: Path) -> None:
    for key in ("../../etc/passwd", "", "x" * 40, KEY + "0"):
        with pytest.raises(UserError):
            Store(tmp_path).put(key, b"")
    assert os.listdir(tmp_path) == []
