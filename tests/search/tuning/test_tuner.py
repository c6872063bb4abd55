"""The scheduler: idle workers stay, however few jobs there are; rungs decide who goes on; nothing is pickled."""

from __future__ import annotations

import inspect
import json
import pickle
import threading
from types import SimpleNamespace

import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils.object_cache import _ObjectCache

from search.tuning.tuner import Rungs, forget, spare_starting_actors


def test_every_idle_worker_is_kept() -> None:
    cache = _ObjectCache(may_keep_one=True)
    controller, trial = SimpleNamespace(_actor_cache=cache), SimpleNamespace(placement_group_factory="group")
    scheduler = Rungs(3, lambda *_: True)
    for _ in range(5):
        scheduler.on_trial_add(controller, trial)
    assert all(cache.cache_object("group", worker) for worker in range(3))
    assert not cache.cache_object("group", 3)
    assert list(cache.flush_cached_objects()) == []
    assert len(list(cache.flush_cached_objects(force_all=True))) == 3


def test_a_trial_whose_actor_is_being_made_gets_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def reuse_any(_: object, trial: str) -> bool:
        given.append(trial)
        return True

    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", reuse_any)
    spare_starting_actors()
    spare_starting_actors()
    controller = SimpleNamespace(
        _trial_to_actor={"starting": 1, "resetting": 2, "waiting": 3},
        _resetting_trials={"resetting"},
        _actor_manager=SimpleNamespace(is_actor_started=lambda actor: actor != 3),
    )
    reuse = TuneController._maybe_reuse_cached_actor
    asked = ("new", "starting", "resetting", "waiting")
    assert [reuse(controller, trial) for trial in asked] == [True, False, True, True]
    assert given == ["new", "resetting", "waiting"]


def test_finished_trials_are_forgotten() -> None:
    scheduler = Rungs(1, lambda *_: True)
    told = SimpleNamespace(last_result={"a": 1}, metric_analysis={"a": 1}, metric_n_steps={"a": 1})
    ended = SimpleNamespace(config={"job": "x"}, evaluated_params={"job": "x"}, run_metadata=told, status="TERMINATED")
    waiting = SimpleNamespace(status="PENDING")
    scheduler.on_trial_complete(None, ended, {})
    controller = SimpleNamespace(get_live_trials=lambda: [ended, waiting])
    assert scheduler.choose_trial_to_run(controller) is waiting
    assert ended.config == told.last_result == {}


def test_tune_still_has_the_cache_that_is_raised() -> None:
    assert "self._actor_cache = _ObjectCache(" in inspect.getsource(TuneController.__init__)
    for name in ("_trial_to_actor", "_resetting_trials"):
        assert f"self.{name}" in inspect.getsource(TuneController.__init__)
    assert hasattr(TuneController, "_maybe_reuse_cached_actor")
    assert hasattr(TuneController, "get_live_trials")


def test_rungs_decide_who_goes_on() -> None:
    asked: list[tuple[str, str]] = []

    def should_continue(trial_id: str, outcome: dict[str, str]) -> bool:
        asked.append((trial_id, outcome["rung"]))
        return trial_id == "good"

    scheduler = Rungs(1, should_continue)

    def decide(name: str, **outcome: object) -> str:
        done = bool(outcome.pop("done", False))
        result = {"outcome": json.dumps(outcome), "done": done}
        return scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), result)

    assert decide("good", rung="kl") == TrialScheduler.CONTINUE
    assert decide("bad", rung="kl") == TrialScheduler.STOP
    assert decide("bad", rung="all", done=True) == TrialScheduler.CONTINUE, "a last report needs no decision"
    assert decide("bad", rung="kl", error="x") == TrialScheduler.CONTINUE
    assert asked == [("good", "kl"), ("bad", "kl")]


def test_nothing_of_the_scheduler_is_pickled() -> None:
    lock = threading.Lock()
    scheduler = Rungs(1, lambda *_: lock.locked())
    assert len(pickle.dumps(scheduler)) < 200


def test_a_finished_trial_is_let_go_of_wherever_tune_keeps_it() -> None:
    job = "x" * 10_000
    trial = Trial(
        "__none", config={"job": job}, evaluated_params={"job": job}, experiment_tag=f"1_job={job}", stub=True
    )
    trial.run_metadata.last_result = {"outcome": job}
    assert job in repr(vars(trial))
    forget(trial)
    assert job not in repr(vars(trial)) + repr(vars(trial.run_metadata))
