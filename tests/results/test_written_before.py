"""The run folder of an earlier version stays readable: its front, what is selected of it, its model and policies."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from results import front, select
from results.runs import RunView

BEFORE = Path(__file__).resolve().parents[1] / "data" / "before"


def test_front(capsys: pytest.CaptureFixture[str]) -> None:
    front.main([str(BEFORE / "run"), "--format", "csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    rows_before = list(csv.DictReader((BEFORE / "run_front.csv").read_text(encoding="utf-8").splitlines()))
    for row in rows:  # the one column that has another name since
        row["seconds_per_segment"] = row["cached_seconds_per_segment"]
    assert [{key: row[key] for key in rows_before[0]} for row in rows] == rows_before


def test_select(capsys: pytest.CaptureFixture[str]) -> None:
    rules = {"best:Bin2": "c00003", "best": "original", "knee": "c00003", "like-original": "diet"}
    for rule, name in rules.items():
        select.main([str(BEFORE / "run"), rule, "--json"])
        assert json.loads(capsys.readouterr().out)["candidate"] == name


def test_model_and_policies() -> None:
    run = RunView.open(BEFORE / "run")
    assert run.original_bytes == 4_781_408
    for row in run.candidates:
        policy = run.policy(row)
        assert policy.model == run.model.digest
        assert row.policy == f"policies/{policy.digest}.json"
