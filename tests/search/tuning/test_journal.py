"""The journal: the study that Optuna opens is the run's table, whatever happened to the file."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from compress.errors import UserError
from search.tuning.journal import BATCH, STUDY, Journal, JournalEntry, candidates_in

SPACE = {"level a": optuna.distributions.CategoricalDistribution(["x", "y"])}
ENTRIES = [
    JournalEntry.of("c00001", "search", {"level a": "x"}, "scored", 0.5, 100),
    JournalEntry.of("c00002", "search", {"level a": "y"}, "failed", 0.0, 90),
    JournalEntry.of("c00003", "search", {"level a": "y"}, "stopped", math.nan, 80),
]


def study(path: Path) -> optuna.Study:
    """As `optuna-dashboard` opens it."""
    return optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name=STUDY)


def names(path: Path) -> list[str]:
    return [trial.user_attrs["candidate"] for trial in study(path).get_trials()]


def write(path: Path, count: int = 3) -> Journal:
    journal = Journal(path, SPACE, [])
    for entry in ENTRIES[:count]:
        journal.add(entry)
    journal.flush()
    return journal


def test_the_journal_is_a_study_that_optuna_opens(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    write(path)
    trials = study(path).get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert [trial.params for trial in trials] == [{"level a": "x"}, {"level a": "y"}, {"level a": "y"}]
    assert study(path).best_trials[0].user_attrs["candidate"] == "c00001"
    assert study(path).metric_names == ["comet", "bytes"]


def test_a_journal_that_is_gone_on_with_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    write(path, 2)
    before = path.read_bytes()
    journal = Journal(path, SPACE, ENTRIES[:2])
    journal.add(ENTRIES[2])
    journal.flush()
    assert path.read_bytes().startswith(before)
    assert names(path) == candidates_in(path) == ["c00001", "c00002", "c00003"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing", "one too many", "empty", "another date"])
def test_what_is_not_the_table_is_made_anew_from_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "study.journal"
    write(path)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-20])
    elif damage == "garbage":
        path.write_text("nothing that Optuna wrote\n", encoding="utf-8")
    elif damage == "missing":
        path.unlink()
    elif damage == "another date":  # which only Optuna reads
        path.write_bytes(content.replace(b'"datetime_complete":"2', b'"datetime_complete":"x'))
        assert path.read_bytes() != content
    elif damage == "empty":
        path.write_bytes(b"")
    Journal(path, SPACE, ENTRIES[:2] if damage == "one too many" else ENTRIES)
    assert names(path) == ["c00001", "c00002", "c00003"][: 2 if damage == "one too many" else 3]


def test_several_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tuning.journal.PATIENCE", math.inf)
    path = tmp_path / "study.journal"
    journal = Journal(path, SPACE, [])
    for _ in range(BATCH + 1):
        journal.add(ENTRIES[0])
    assert len(names(path)) == BATCH
    journal.flush()
    journal.flush()
    assert len(names(path)) == BATCH + 1
    monkeypatch.setattr("search.tuning.journal.PATIENCE", -1.0)
    journal.add(ENTRIES[1])
    assert names(path)[-1] == "c00002", "what comes after a while is written at once"


def test_a_full_disk_is_one_line_and_the_next_run_makes_the_file_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.journal"
    journal = write(path, 2)
    journal.add(ENTRIES[2])

    def half(_self: JournalFileBackend, _logs: list[dict[str, Any]]) -> None:
        with path.open("a") as stream:
            stream.write('{"op_code": 4, "study')
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(JournalFileBackend, "append_logs", half)
        with pytest.raises(UserError, match=r"no space left for .*study\.journal"):
            journal.flush()
    Journal(path, SPACE, ENTRIES)
    assert names(path) == ["c00001", "c00002", "c00003"]


def test_the_study_bears_the_name_of_its_run(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    write(path)  # as before it had one
    Journal(path, SPACE, ENTRIES, "mine")
    named = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name=None)
    assert named.study_name == "mine"
    assert len(named.get_trials()) == len(ENTRIES)
