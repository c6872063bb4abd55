"""The scheduler: the trial manager decides who goes on, finished trials are let go of, nothing is pickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from search.tuning.scheduler import RungScheduler, forget
from tests.search.tuning.runs import ask, manager, searcher


def test_the_trial_manager_decides_who_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searcher(manager(tmp_path), workers=2)
    promising, poor = ask(search, "a")["name"], ask(search, "b")["name"]
    asked: list[tuple[str, str]] = []

    def should_continue(trial: Any, outcome: dict[str, str]) -> bool:
        asked.append((trial.name, outcome["rung"]))
        return bool(trial.name == promising)

    monkeypatch.setattr(search.manager, "should_continue", should_continue)
    scheduler = RungScheduler(search)

    def decide(trial_id: str, done: bool = False, **outcome: object) -> str:
        trial: Any = SimpleNamespace(trial_id=trial_id)
        return scheduler.on_trial_result(None, trial, {"outcome": json.dumps(outcome), "done": done})

    assert decide("a", rung="kl") == TrialScheduler.CONTINUE
    assert decide("b", rung="kl") == TrialScheduler.STOP
    assert decide("b", rung="all", done=True) == TrialScheduler.CONTINUE, "a last report needs no decision"
    assert asked == [(promising, "kl"), (poor, "kl")]


def test_an_error_while_deciding_stops_the_trial_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searcher(manager(tmp_path))
    ask(search, "a")

    def broken(*_: object) -> bool:
        raise KeyError("a bug")

    monkeypatch.setattr(search.manager, "should_continue", broken)
    trial: Any = SimpleNamespace(trial_id="a")
    assert RungScheduler(search).on_trial_result(None, trial, {"outcome": "{}"}) == TrialScheduler.STOP
    assert isinstance(search.error, KeyError)


def test_finished_trials_are_let_go_of_and_only_living_ones_are_looked_at(tmp_path: Path) -> None:
    scheduler = RungScheduler(searcher(manager(tmp_path)))
    metadata = SimpleNamespace(last_result={"a": 1}, metric_analysis={"a": 1}, metric_n_steps={"a": 1})
    ended: Any = SimpleNamespace(config={"job": "x"}, evaluated_params={}, run_metadata=metadata, status="TERMINATED")
    waiting = SimpleNamespace(status="PENDING")
    scheduler.on_trial_complete(None, ended, {})
    controller = SimpleNamespace(get_live_trials=lambda: [ended, waiting])
    assert scheduler.choose_trial_to_run(controller) is waiting
    assert ended.config == metadata.last_result == {}


def test_what_tune_keeps_of_a_finished_trial_is_its_config_once(tmp_path: Path) -> None:
    outcome, job = "o" * 10_000, "j" * 1_000
    trial = Trial("__none", config={"job": job}, evaluated_params={"job": job}, experiment_tag=f"1_{job}", stub=True)
    trial.run_metadata.last_result = {"outcome": outcome}
    forget(trial)
    kept = repr(vars(trial)) + repr(vars(trial.run_metadata))
    assert outcome not in kept
    assert kept.count(job) <= 1
    assert str(tmp_path) not in kept


def test_nothing_of_the_scheduler_is_pickled(tmp_path: Path) -> None:
    assert len(pickle.dumps(RungScheduler(searcher(manager(tmp_path))))) < 200
