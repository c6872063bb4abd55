"""The searcher: phases in order, every failure told to Optuna as FAIL, nothing pickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.searcher import EngineSearch, Journal, Phase

SPACE = {"level a": optuna.distributions.CategoricalDistribution(["x", "y"])}


def searcher(done: list[dict[str, Any]]) -> EngineSearch:
    return EngineSearch(
        lambda job, outcome: done.append(job | {"outcome": outcome}), lambda _, parameters: dict(parameters)
    )


def ask(search: EngineSearch, trial: str) -> Any:
    found = search.suggest(trial)
    return json.loads(found["job"]) if isinstance(found, dict) else found


def finish(search: EngineSearch, trial: str, **outcome: Any) -> None:
    search.on_trial_complete(trial, {"outcome": json.dumps(outcome)})


def test_a_phase_waits_for_the_one_before_it() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    ended: list[str] = []
    search.phases = [
        Phase("one", [{"n": 1}, {"n": 2}], lambda: ended.append("one")),
        Phase("two", [{"n": 3}], lambda: ended.append("two")),
    ]
    assert [ask(search, "a"), ask(search, "b")] == [{"n": 1}, {"n": 2}]
    assert ask(search, "c") is None
    finish(search, "b", ok=1)
    assert ask(search, "c") is None
    finish(search, "a", ok=1)
    assert ended == ["one"]
    assert ask(search, "c") == {"n": 3}
    finish(search, "c", ok=1)
    assert ended == ["one", "two"]
    assert ask(search, "d") == Searcher.FINISHED


def test_an_empty_phase_is_passed_over() -> None:
    search = searcher([])
    ended: list[int] = []
    search.phases = [Phase("none", [], lambda: ended.append(1)), Phase("also none", [], lambda: ended.append(2))]
    assert ask(search, "a") == Searcher.FINISHED
    assert ended == [1, 2]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ({"comet": 0.5, "bytes": 10}, TrialState.COMPLETE),
        ({"comet": float("nan"), "bytes": 10}, TrialState.FAIL),
        ({"comet": None, "bytes": 10}, TrialState.FAIL),
        ({"error": "boom"}, TrialState.FAIL),
        ({}, TrialState.FAIL),
    ],
)
def test_no_trial_stays_running(outcome: dict[str, Any], state: TrialState) -> None:
    search = searcher([])
    study = search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1)
    assert ask(search, "a")["level a"] in ("x", "y")
    finish(search, "a", **outcome)
    assert [trial.state for trial in study.trials] == [state]
    assert ask(search, "b") == Searcher.FINISHED


def test_a_worker_that_died_is_told_as_failed() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    study = search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1)
    ask(search, "a")
    search.on_trial_complete("a", None, error=True)
    assert done[0]["outcome"]["error"] == "the worker died"
    assert study.trials[0].state == TrialState.FAIL


def test_nothing_of_it_is_pickled(tmp_path: Path) -> None:
    search = searcher([])
    search.phases = [Phase("one", [{"unpicklable": 1}], lambda: None)]
    assert len(pickle.dumps(search)) < 200
    search.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""


def test_the_journal_is_a_study_that_optuna_opens(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.add("c00001", "search", {"level a": "x"}, SPACE, [0.5, 100.0])
    journal.add("c00002", "search", {"level a": "y"}, SPACE, None)
    again = Journal(path)
    assert again.known() == {"c00001", "c00002"}
    assert [trial.state for trial in again.study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert again.study.best_trials[0].user_attrs["candidate"] == "c00001"
