"""Folders that are no runs, half-written ones, newer ones, hostile ones: one line, exit 2, nothing touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compress.errors import UserError
from results.rows.storage import Table
from results.runs import RunView
from tests.commands import refused, run
from tests.results.examples import add_model, candidate, make_run


def no_table(folder: Path) -> None:
    for path in (folder / "candidates.parquet").iterdir():
        path.unlink()
    (folder / "candidates.parquet").rmdir()


def empty_table(folder: Path) -> None:
    for path in (folder / "candidates.parquet").iterdir():
        path.unlink()


def cut_short(folder: Path) -> None:
    (part,) = (folder / "candidates.parquet").iterdir()
    part.write_bytes(part.read_bytes()[:-9])


def newer(folder: Path) -> None:
    import pyarrow.parquet as pq

    (part,) = (folder / "candidates.parquet").iterdir()
    pq.write_table(pq.read_table(part).replace_schema_metadata({"compression-search-table": "99"}), part)


def not_ours(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (part,) = (folder / "candidates.parquet").iterdir()
    pq.write_table(pa.table({"candidate": ["x"]}), part)


def lacking(folder: Path) -> None:
    import pyarrow.parquet as pq

    (part,) = (folder / "candidates.parquet").iterdir()
    pq.write_table(pq.read_table(part).drop_columns(["bytes"]), part)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def other_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")


def torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"lang": "en')


def odd_model(folder: Path) -> None:
    add_model(folder)
    (folder / "model.json").write_text('{"digest": "x"}')


def odd_sensitivities(folder: Path) -> None:
    (folder / "sensitivities.json").write_text("[[1, 2]]")


def gone(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def look_at(folder: Path) -> None:
    run = RunView.open(folder)
    assert run.model
    assert run.sensitivities


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (gone, "there is no run at"),
        (no_config, "is not a run's folder: there is no config.json"),
        (other_config, "is not a run's folder"),
        (torn_config, "config.json cannot be read"),
        (no_table, "has no candidates yet"),
        (empty_table, "has no candidates yet"),
        (cut_short, "is damaged"),
        (newer, "has version 99, this program reads 1 to 4"),
        (not_ours, "is not a part of a run's table"),
        (lacking, "lacks the column bytes"),
        (odd_model, "model.json is damaged"),
        (odd_sensitivities, "sensitivities.json is damaged"),
    ],
)
def test_what_is_no_run(tmp_path: Path, damage: object, message: str) -> None:
    folder = make_run(tmp_path / "run", [candidate()])
    assert callable(damage)
    damage(folder)
    with pytest.raises(UserError, match=message) as refused:
        look_at(folder)
    assert "\n" not in str(refused.value)


def test_a_policy_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [candidate("c1")])
    (tmp_path / "secret.json").write_text("{}")
    Table(folder / "candidates.parquet").append(
        [replace(candidate("c2"), policy="../secret.json"), replace(candidate("c3"), policy="/etc/passwd")]
    )
    run = RunView.open(folder)
    for name in ("c2", "c3"):
        with pytest.raises(UserError, match="outside of its run"):
            run.policy(run.find(name))


COMMANDS = {
    "front": ["{run}"],
    "report": ["{run}"],
    "table": ["{run}"],
    "select": ["{run}", "best"],
    "export": ["{run}", "--candidate", "c1", "--out", "{out}"],
    "compare": ["{run}", "{run}"],
    "merge": ["{run}", "{run}", "--out", "{out}"],
    "submit": ["{run}", "--data", "embedded", "--lang", "en-zh", "--team", "X", "--condition", "constrained"],
}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_tells_it_in_one_line_and_ends_with_2(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [a.format(run=tmp_path / "empty", out=tmp_path / "out") for a in COMMANDS[command]]
    refused(run(f"results.{command}", *filled, capsys=capsys))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("command", ["front", "report", "table"])
def test_a_place_that_cannot_be_written_is_told_by_its_name(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", [candidate("original"), candidate("c1")])
    out = tmp_path / "none" / "file"
    told = refused(run(f"results.{command}", folder, "--out", out, capsys=capsys))
    assert told.startswith(f"error: {out}: No such file or directory")


def test_an_empty_front_and_a_candidate_that_is_not_there(tmp_path: Path) -> None:
    from results import export, select
    from results import front as front_command

    folder = str(make_run(tmp_path / "run", [candidate("c1", status="failed")]))
    with pytest.raises(UserError, match="the front is empty: 0 of 1 candidates were scored"):
        front_command.main([folder])
    with pytest.raises(UserError, match="nothing to select from"):
        select.main([folder])
    with pytest.raises(UserError, match=r"has no candidate 'c7'"):
        export.main([folder, "--candidate", "c7", "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match="exists already"):
        export.main([folder, "--candidate", "c1", "--out", folder])
    with pytest.raises(UserError, match="candidate c1 is failed"):
        export.main([folder, "--candidate", "c1", "--out", str(tmp_path / "out")])
    assert json.loads((Path(folder) / "config.json").read_text())["name"] == "run", "nothing was touched"
