"""Merging small parts: nothing is lost or doubled, whenever it is killed and whoever reads meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from results.rows import compaction
from results.rows.parts import TablePart, all_parts, name_of, uncovered
from results.rows.storage import Table
from tests.forked import start
from tests.results.examples import candidate


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FAN", 4)
    monkeypatch.setattr(compaction, "LARGEST", 16)


def names(folder: Path) -> list[str]:
    return [c.candidate for c in Table(folder).read()]


@pytest.mark.usefixtures("small")
def test_many_appends_become_few_parts_in_order(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for number in range(71):
        table.append([candidate(f"c{number:05d}", comet=number / 100)])
    assert names(tmp_path) == [f"c{number:05d}" for number in range(71)]
    spans = [part.span for part in uncovered(all_parts(tmp_path))]
    assert spans == [16, 16, 16, 16, 4, 1, 1, 1]
    assert len(all_parts(tmp_path)) == len(spans), "nothing is left over"
    assert table.read()[70].hypotheses == candidate().hypotheses


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=30), st.data())
def test_uncovered_parts_hold_every_append_once(spans: list[int], data: Any) -> None:
    parts, start = [], 1
    for span in spans:
        parts.append(TablePart(start, start + span - 1, Path(name_of(start, start + span - 1))))
        start += span
    for _ in range(data.draw(st.integers(0, 3)) if parts else 0):
        low = data.draw(st.integers(0, len(spans) - 1))
        high = data.draw(st.integers(low, len(spans) - 1))
        if low < high and all(p.last < parts[low].first or p.first > parts[high].last for p in parts[len(spans) :]):
            parts.append(TablePart(parts[low].first, parts[high].last, Path("merged")))
    held = [n for part in uncovered(parts) for n in range(part.first, part.last + 1)]
    assert held == list(range(1, start))


def _merge_and_die(folder: Path, moment: int) -> None:
    """Appends five rows, and merges them until that change of the folder."""
    steps = 0

    def step(real: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == moment:
                os._exit(9)
            return real(*arguments, **options)

        return stepping

    table = Table(folder)
    for number in range(5):
        table.append([candidate(f"c{number}")])
    compaction.FAN = 4
    # From here on every change of the folder may be the last.
    Path.replace, Path.unlink = step(Path.replace), step(Path.unlink)  # type: ignore[method-assign]
    compaction.compact(folder, uncovered(all_parts(folder)), {})


@pytest.mark.parametrize("moment", [1, 2, 3, 5])
def test_a_kill_in_the_middle_loses_and_doubles_nothing(tmp_path: Path, moment: int) -> None:
    killed = start(_merge_and_die, tmp_path, moment)
    killed.join(60)
    assert killed.exitcode == 9
    expected = [f"c{number}" for number in range(5)]
    assert names(tmp_path) == expected
    Table(tmp_path).append([candidate("c5")])
    assert names(tmp_path) == [*expected, "c5"]
    assert not list(tmp_path.glob(".part-*")), "what was half-written is gone"
    pandas = pytest.importorskip("pandas")
    assert sorted(pandas.read_parquet(tmp_path)["candidate"]) == [*expected, "c5"], "no row twice for others either"


def _write(folder: Path, count: int) -> None:
    compaction.FAN, compaction.LARGEST = 4, 16
    table = Table(folder)
    for number in range(count):
        table.append([candidate(f"c{number:05d}")])


def test_readers_never_see_a_gap_while_parts_are_merged(tmp_path: Path) -> None:
    Table(tmp_path).append([candidate("first")])
    writer = start(_write, tmp_path, 48)
    readings, longest = 0, 0
    while writer.is_alive() or not readings:
        read = names(tmp_path)
        assert read == ["first", *(f"c{number:05d}" for number in range(len(read) - 1))]
        assert len(read) >= longest
        readings, longest = readings + 1, len(read)
    writer.join()
    assert writer.exitcode == 0
    assert len(names(tmp_path)) == 49


def test_a_damaged_part_stops_a_merge_in_one_line(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.append([candidate()])
    table.append([candidate("c2")])
    table.parts()[0].write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match="cannot be merged"):
        compaction.merge_parts(table.parts(), tmp_path / name_of(1, 2))
    assert len(os.listdir(tmp_path)) == 2, "and leaves the folder as it was"
