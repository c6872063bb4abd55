"""The table of a paper: which rows, compared with the original, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from compress.errors import UserError
from results.paper_table import FORMATS, Seconds, chosen_rows, paper_table, setting_of
from results.runs import RunView
from tests.commands import refused, run
from tests.results.examples import add_model, candidate, make_run


def segments(mean: float, spread: float = 0.1, count: int = 40) -> tuple[float, ...]:
    return tuple(mean + spread * (-1) ** n for n in range(count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def row(name: str, size: int, comet: float, recipe: str = "search", **others: object) -> object:
        return candidate(name, size, comet, recipe=recipe, comet_segments=segments(comet), segments=40, **others)

    rows = [
        row("original", 20_000, 0.9, "original", layers_dropped=0, bits_per_weight=16.0),
        row("nf4", 5_000, 0.85, "nf4", layers_dropped=0),
        row("mlp-q2", 9_000, 0.88, "mlp-q2"),
        row("pruned-1-lm.1", 15_000, 0.7, "iterative-pruning", layers_dropped=1),
        row("pruned-2-lm.2", 12_000, 0.6, "iterative-pruning", layers_dropped=2, chrf=40.0),
        row("pruned-2-lm.3", 12_010, 0.5, "iterative-pruning", layers_dropped=2, chrf=30.0),
        row("drop:lm.1", 19_000, 0.89, "drop:lm.1"),
        row("c00001", 2_000, 0.8),
        row("c00002", 1_500, 0.5, vocabulary="scripts:en,zh"),
        row("c00002+cheap", 1_600, 0.55, "cheap", parent="c00002"),
        candidate("c00003", 1_000, status="stopped"),
    ]
    made = make_run(tmp_path / "run", rows)  # type: ignore[arg-type]
    add_model(made)
    return made


def test_the_default_is_the_original_the_recipes_and_what_one_would_choose(folder: Path) -> None:
    table = paper_table(RunView.open(folder))
    assert [row.method for row in table][:4] == ["Original", "iterative-pruning", "mlp-q2", "nf4"]
    assert table[1].candidate == "pruned-2-lm.2", "of iterative pruning only its end: what its last round kept"
    assert {"Search (c00001)"} <= {row.method for row in table}
    assert len({row.candidate for row in table}) == len(table), "each row once"


def test_each_row_is_compared_with_the_original(folder: Path) -> None:
    original, worse, same = paper_table(RunView.open(folder), ["original", "c00002", "c00001"])
    assert (original.delta, original.p, original.ratio) == (0.0, None, 1.0)
    assert worse.delta == pytest.approx(-0.4)
    assert worse.p is not None
    assert worse.p < 0.01
    assert (same.ratio, same.gb) == (10.0, 2e-6)


def test_names_rules_and_recovered_rows_may_be_asked_for(folder: Path) -> None:
    view = RunView.open(folder)
    assert [c.candidate for c in chosen_rows(view, ["c00002+cheap", "best:3KB", "c00002+cheap"])] == [
        "c00002+cheap",
        "c00001",
    ]
    (row,) = paper_table(view, ["c00002+cheap"])
    assert row.method == "Search, recovered (c00002+cheap)"
    assert setting_of(view.find("c00002")) == "2.00 bits a weight, 1 layer dropped, vocabulary scripts:en,zh"


@pytest.mark.parametrize(
    ("names", "message"),
    [(["c00003"], "c00003 is pruned: only scored ones are in a table"), (["nobody"], "--rows nobody: no candidate")],
)
def test_rows_that_cannot_be_shown_are_refused(folder: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        paper_table(RunView.open(folder), names)


def test_a_run_without_an_original_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [candidate("c1")])
    with pytest.raises(UserError, match="has no scored original to compare with"):
        paper_table(RunView.open(folder))


def test_every_format_shows_the_same_rows(folder: Path) -> None:
    table = paper_table(RunView.open(folder), seconds={"c00001": Seconds(0.5, 0.25)})
    texts = {name: form(table) for name, form in FORMATS.items()}
    for name, text in texts.items():
        assert all(row.method.split()[0] in text for row in table), name
    assert [row["candidate"] for row in json.loads(texts["json"])] == [row.candidate for row in table]
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert [(row["candidate"], float(row["comet"])) for row in rows] == [(row.candidate, row.comet) for row in table]
    assert {row["candidate"]: row["seconds_batched"] for row in rows}["c00001"] == "0.25"
    assert "0.500" in texts["text"]
    assert texts["latex"].count(r"\textbf{") == 1
    assert texts["markdown"].splitlines()[1].startswith("| --- | ---:")


def test_without_times_there_are_no_columns_of_them(folder: Path) -> None:
    assert "Sec/item" not in FORMATS["text"](paper_table(RunView.open(folder)))


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("results.table", folder, "--rows", "original", "recipes", capsys=capsys)
    assert code == 0
    methods = [line.split()[0] for line in out.splitlines()]
    assert methods == ["Method", "Original", "iterative-pruning", "mlp-q2", "nf4"]
    out_file = tmp_path / "table.tex"
    assert run("results.table", folder, "--format", "latex", "--out", out_file, capsys=capsys)[0] == 0
    assert out_file.read_text().endswith("\\end{tabular}\n")
    assert "at least 1" in refused(run("results.table", folder, "--time-segments", 0, capsys=capsys))
    assert "--rows x: no candidate has that name" in refused(run("results.table", folder, "--rows", "x", capsys=capsys))
