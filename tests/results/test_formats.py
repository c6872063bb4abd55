"""`pareto.csv`: its columns are a promise."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from compress.cli import run as run_command
from compress.errors import UserError
from results.formats import COLUMNS, to_csv, to_text, write_front
from results.runs import RunView
from tests.results.examples import candidate, make_run

PROMISED = (
    "candidate,recipe,bin,bytes,gb,comet,comet_low,comet_high,chrf,bleu,segments,parameters,bits_per_weight,"
    "layers_dropped,vocabulary,cached_seconds_per_segment,policy,signature"
)


def test_columns_are_the_promised_ones_in_order() -> None:
    assert ",".join(COLUMNS) == PROMISED
    assert to_csv([]).splitlines() == [PROMISED]


def test_only_the_front_is_written_by_rising_bytes(tmp_path: Path) -> None:
    path = tmp_path / "pareto.csv"
    candidates = [
        candidate("c3", 300, 0.9),
        candidate("c1", 100, 0.5),
        candidate("c2", 200, 0.4),
        candidate("c4", 50, 0.99, status="failed"),
    ]
    write_front(candidates, path)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["candidate"] for row in rows] == ["c1", "c3"]
    assert rows[0]["bytes"] == "100"
    assert rows[0]["gb"] == "0.000000"
    assert float(rows[1]["comet"]) == 0.9


def test_an_unchanged_front_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "pareto.csv"
    write_front([candidate("c1")], path)
    before = path.stat().st_mtime_ns
    write_front([candidate("c1"), candidate("worse", 2000, 0.1)], path)
    assert path.stat().st_mtime_ns == before


def test_text_has_a_line_a_candidate() -> None:
    lines = to_text([candidate("c1"), candidate("c2")]).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1, "columns are aligned"


def fields(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def test_where_all_keep_the_full_vocabulary_there_is_no_column_of_it() -> None:
    head, line = to_text([candidate("c00001", 569_412)]).splitlines()
    assert fields(head)[-1] == "dropped"
    assert "full" not in line


def test_a_smaller_vocabulary_is_in_the_table_of_a_terminal() -> None:
    rows = [
        candidate("c00001", 300_000),
        candidate("c00002", 400_000, vocabulary="scripts:en,zh"),
        candidate("c00003", 569_412, vocabulary="top:32000:0123456789abcdef"),
    ]
    head, *lines = to_text(rows).splitlines()
    assert [fields(line)[-1] for line in (head, *lines)] == ["vocab", "full", "en,zh", "32000"]
    assert fields(head)[-2:] == ["drop", "vocab"]
    assert max(map(len, (head, *lines))) <= 80
    assert fields(head)[:3] == ["candidate", "recipe", "bytes"], "the bin is the same in every line"


@pytest.mark.parametrize("nbytes", [569_412, 12_345_678, 2_000_000_000])
@pytest.mark.parametrize("recipe", ["search", "nf4"])
def test_the_vocabulary_leaves_the_table_in_80_columns_where_it_fits_without(nbytes: int, recipe: str) -> None:
    rows = [
        candidate("c00001", nbytes, vocabulary="scripts:en,zh"),
        candidate("c00002", nbytes, bin="Bin1", recipe=recipe),
    ]
    shown, without = to_text(rows), to_text([replace(c, vocabulary="full") for c in rows])
    assert "en,zh" in shown
    assert width(shown) <= 80 or width(without) > 80
    assert all(f"{c.comet_low:.4f}–{c.comet_high:.4f}" in shown for c in rows)


def width(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_a_table_that_is_too_wide_anyway_keeps_all_columns() -> None:
    rows = [candidate("c00001", vocabulary="scripts:en,zh"), candidate("c" * 50)]
    assert fields(to_text(rows).splitlines()[0])[1:3] == ["recipe", "bin"]


@pytest.mark.parametrize("name", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)"])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    [row] = csv.DictReader(io.StringIO(to_csv([candidate(name, bin="-", comet_low=-0.5)])))
    assert row["candidate"] == f"'{name}"
    assert (row["bin"], row["comet_low"]) == ("-", "-0.500000")


def test_names_that_a_terminal_would_obey_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [candidate("c00001\x1b[2J")])
    with pytest.raises(UserError, match=r"candidate 'c00001\\x1b\[2J' has control characters"):
        RunView.open(run)


def test_messages_show_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: list[str]) -> int:
        raise UserError("no \x1b[31m\rfile")

    assert run_command(main, []) == 2
    assert capsys.readouterr().err == "error: no \\x1b[31m\\x0dfile\n"
