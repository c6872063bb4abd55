"""The table: append-only, readable by others while it grows, never half a row."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from compress.errors import UserError
from results.candidate import FAILED, HELD_OUT, PRUNED
from results.rows import compaction
from results.rows.storage import Table
from tests.results.examples import candidate


def test_what_is_read_is_what_was_appended(tmp_path: Path) -> None:
    table = Table(tmp_path / "t")
    first, second = candidate("c00001"), candidate("c00002", comet=0.1, status="failed", error="boom")
    table.append([first])
    table.append([second])
    rows = Table(tmp_path / "t").read()
    assert [c.candidate for c in rows] == ["c00001", "c00002"]
    assert rows[0].hypotheses == first.hypotheses
    assert rows[0].comet_segments == pytest.approx(first.comet_segments)
    assert rows[1].error == "boom"


def test_appending_leaves_earlier_parts_alone(tmp_path: Path) -> None:
    table = Table(tmp_path / "t")
    table.append([candidate("c00001")])
    before = {path: path.read_bytes() for path in table.parts()}
    table.append([candidate("c00002")])
    assert len(table.parts()) == 2
    assert all(path.read_bytes() == content for path, content in before.items())


def test_pandas_reads_it_without_our_code(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = Table(tmp_path / "t")
    table.append([candidate("c00001"), candidate("c00002")])
    assert list(pandas.read_parquet(tmp_path / "t")["candidate"]) == ["c00001", "c00002"]


def test_a_half_written_part_is_not_read(tmp_path: Path) -> None:
    table = Table(tmp_path / "t")
    table.append([candidate()])
    (tmp_path / "t" / ".part-000002.parquet.99.part").write_bytes(b"PAR1 cut short")
    assert len(table.read()) == 1


def test_a_damaged_part_is_refused_in_one_line(tmp_path: Path) -> None:
    table = Table(tmp_path / "t")
    table.append([candidate()])
    part = table.parts()[0]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-000001\.parquet is damaged"):
        table.read()


def test_parts_of_version_1_are_read_with_defaults(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = Table(tmp_path / "t")
    table.append([candidate("c00001")])
    (part,) = table.parts()
    old = pq.ParquetFile(part).read().drop_columns(["rung", "parent", "kl", "attempts"])
    pq.write_table(old.replace_schema_metadata({"compression-search-table": "1"}), part)
    assert isinstance(old, pa.Table)
    table.append([candidate("c00002", status="stopped", rung="part", kl=0.25, attempts=2)])
    first, second = table.read()
    assert (first.rung, first.parent, first.attempts) == ("all", "", 1)
    assert math.isnan(first.kl)
    assert (second.status, second.rung, second.parent, second.kl, second.attempts) == ("stopped", "part", "", 0.25, 2)


def test_held_out_rows_of_version_2_are_read_with_their_own_status(tmp_path: Path) -> None:
    """Before version 3 they had the status of pruned candidates, and only their parent tells them apart."""
    import pyarrow.parquet as pq

    table = Table(tmp_path / "t")
    table.append(
        [
            candidate("pruned", status="stopped", rung="part"),
            candidate("c1+cheap", status="stopped", rung="part", parent="c1"),
            candidate("c2+cheap", status="failed", parent="c2"),
        ]
    )
    (part,) = table.parts()
    pq.write_table(pq.read_table(part).replace_schema_metadata({"compression-search-table": "2"}), part)
    before = part.read_bytes()
    table = Table(tmp_path / "t")
    table.append([candidate("c3+cheap", status=HELD_OUT, rung="part", parent="c3")])
    assert [c.status for c in table.read()] == [PRUNED, HELD_OUT, FAILED, HELD_OUT]
    assert part.read_bytes() == before, "a part that lacks no column is not rewritten"


def test_no_flipped_bit_changes_a_value_in_silence(tmp_path: Path) -> None:
    rows = [candidate(f"c{n:05d}", comet=n / 7) for n in range(5)]
    Table(tmp_path).append(rows)
    [part] = tmp_path.glob("part-*.parquet")
    whole, before = part.read_bytes(), [repr(c) for c in Table(tmp_path).read()]
    generator = random.Random(0)
    noticed = 0
    for _ in range(400):
        at = generator.randrange(len(whole))
        part.write_bytes(whole[:at] + bytes((whole[at] ^ 1 << generator.randrange(8),)) + whole[at + 1 :])
        try:
            assert [repr(c) for c in Table(tmp_path).read()] == before, f"byte {at} of {len(whole)}"
        except UserError:
            noticed += 1
    assert noticed > 200


def test_a_part_that_is_gone_is_missed(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for n in range(1, 5):
        table.append([candidate(f"c{n:05d}")])
    table.parts()[1].unlink()
    for use in (Table(tmp_path).read, lambda: Table(tmp_path).append([candidate("c9")])):
        with pytest.raises(UserError, match=r"lacks part-000002\.parquet: put it back, or give .* up with `touch "):
            use()
    (tmp_path / "part-000002.lost").touch()
    Table(tmp_path).append([candidate("c00005")])
    assert [c.candidate for c in Table(tmp_path).read()] == ["c00001", "c00003", "c00004", "c00005"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"size": 0}, "bytes is 0, and it was scored"),
        ({"size": -5}, "bytes is -5"),
        ({"chrf": math.nan}, "chrf is no number"),
        ({"comet": 1e300}, r"comet is 1e\+300"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"comet_segments": (0.5, math.nan)}, "comet_segments is no number"),
    ],
)
def test_numbers_that_nobody_can_have_measured_are_refused(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    Table(tmp_path).append([candidate("c1"), candidate("c2", **values)])
    with pytest.raises(UserError, match=f"is damaged: of candidate c2 {reason}"):
        Table(tmp_path).read()


def test_candidates_without_outputs_may_lack_numbers(tmp_path: Path) -> None:
    rows = [candidate("c1", kl=math.inf), candidate("c2", size=0, status=FAILED, comet=math.nan, chrf=math.nan)]
    Table(tmp_path).append(rows)
    assert [c.candidate for c in Table(tmp_path).read()] == ["c1", "c2"]


def test_seconds_of_version_3_are_read_under_their_new_name(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    Table(tmp_path).append([candidate("c00001", cached_seconds_per_segment=0.25)])
    (part,) = Table(tmp_path).parts()
    table = pq.ParquetFile(part).read()
    names = [name.removeprefix("cached_") for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata({"compression-search-table": "3"}), part)
    assert Table(tmp_path).read()[0].cached_seconds_per_segment == 0.25
    Table(tmp_path).append([candidate("c00002", cached_seconds_per_segment=0.5)])
    assert [c.cached_seconds_per_segment for c in Table(tmp_path).read()] == [0.25, 0.5]
    assert pq.read_schema(part).names == table.column_names, "the first part has today's columns, as pandas wants"


def test_a_merged_part_can_be_given_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FAN", 4)
    table = Table(tmp_path)
    for n in range(1, 6):
        table.append([candidate(f"c{n:05d}")])
    assert [path.name for path in table.parts()] == ["part-000001-000004.parquet", "part-000005.parquet"]
    table.parts()[0].write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"move it away, `touch .*part-000001-000004.lost` and use --resume"):
        Table(tmp_path).read()
    (tmp_path / "part-000001-000004.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks part-000001-000004\.parquet.*`touch .*/part-000001-000004.lost`"):
        Table(tmp_path).read()
    (tmp_path / "part-000001-000004.lost").touch()
    assert [c.candidate for c in Table(tmp_path).read()] == ["c00005"]
