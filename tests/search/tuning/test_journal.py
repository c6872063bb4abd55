"""The journal: what is written without reading along is what Optuna reads."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from compress.errors import UserError
from search.tuning.journal import GATHERED, Journal

SPACE = {"level a": optuna.distributions.CategoricalDistribution(["x", "y"])}


def test_the_journal_is_a_study_that_optuna_opens(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.add("c00001", "search", {"level a": "x"}, SPACE, [0.5, 100.0])
    journal.add("c00002", "search", {"level a": "y"}, SPACE, None)
    journal.add("c00003", "search", {"level a": "y"}, SPACE, None, stopped=True)
    journal.flush()
    again = Journal(path)
    assert again.known == journal.known == {"c00001", "c00002", "c00003"}
    trials = again.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert trials[0].params == {"level a": "x"}
    assert again.study.best_trials[0].user_attrs["candidate"] == "c00001"
    assert again.study.metric_names == ["comet", "bytes"]


def test_a_journal_that_is_gone_on_with_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for name, values in (("c00001", [0.5, 100.0]), ("c00002", [0.6, 90.0])):
        journal = Journal(path)
        journal.add(name, "search", {"level a": "x"}, SPACE, values)
        journal.flush()
    assert [trial.values for trial in Journal(path).study.get_trials()] == [[0.5, 100.0], [0.6, 90.0]]


def test_many_are_written_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tuning.journal.PATIENCE", math.inf)
    path = tmp_path / "study.journal"
    journal = Journal(path)
    for n in range(GATHERED + 1):
        journal.add(f"c{n:05d}", "search", {"level a": "x"}, SPACE, [0.5, 100.0])
    assert len(Journal(path).known) == GATHERED
    journal.flush()
    journal.flush()
    assert len(Journal(path).known) == GATHERED + 1
    monkeypatch.setattr("search.tuning.journal.PATIENCE", -1.0)
    journal.add("late", "search", {"level a": "x"}, SPACE, None)
    assert "late" in Journal(path).known, "what comes after a while is written at once"


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    Journal(path)
    path.write_text("nothing that Optuna wrote\n", encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        Journal(path)
