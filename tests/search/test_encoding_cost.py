"""What encoding will take, from shapes alone: against what it really takes, for the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import Source, Store, build
from compress.codecs import speed
from compress.codecs.speed import EncodingSpeed
from search.encoding_cost import encoding_seconds, free_bytes, store_bytes

LEVELS = ("raw:bf16", "nf4", "grid@4", "grid@2:trellis")


@pytest.fixture(scope="module")
def source() -> Source:
    import embedded

    return Source.open(embedded.MODEL)


def test_the_store_weighs_what_was_said(source: Source, tmp_path: Path) -> None:
    units = ["lm.3.mlp", "lm.4.attention", "head"]
    store = Store(tmp_path)
    for unit in units:
        for level in LEVELS:
            build(source, unit, level, store)
    weight = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())

    class Part:
        pass

    Part.units = {name: source.structure.unit(name) for name in units}  # type: ignore[attr-defined]
    assert store_bytes(Part, LEVELS, "bf16", False) == pytest.approx(weight, rel=0.05)  # type: ignore[arg-type]


def test_more_levels_take_longer_and_frozen_units_take_nothing(source: Source) -> None:
    pace = EncodingSpeed(trellis=1e6, grid=1e7, other=1e8, factor=1e-9)
    few, more = (encoding_seconds(source.structure, levels, pace) for levels in (LEVELS[:2], LEVELS))
    assert 0 < few < more
    assert encoding_seconds(source.structure, LEVELS, pace, set(source.structure.units)) == 0


def test_speed_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "OUTPUTS", 64)
    monkeypatch.setattr(speed, "INPUTS", 64)
    first = speed.measured()
    assert min(first.trellis, first.grid, first.other, first.factor) > 0
    monkeypatch.setattr(speed, "_measure", lambda device: pytest.fail(f"measured again on {device}"))
    assert speed.measured() == first


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path / "not" / "yet")) > 0
