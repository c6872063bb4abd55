"""The searcher: phases in order, jobs tried again, every failure told to Optuna as FAIL, nothing pickled."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.tuning.searcher import EngineSearch, Phase

SPACE = {"level a": optuna.distributions.CategoricalDistribution(["x", "y"])}


def searcher(done: list[dict[str, Any]]) -> EngineSearch:
    def to_job(parameters: dict[str, str]) -> dict[str, Any]:
        return {"kind": "score", "name": f"c{next(numbers)}", **parameters}

    numbers = itertools.count()
    return EngineSearch(lambda job, outcome: done.append(job | {"outcome": outcome}), to_job)


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
        ({"stopped": True}, TrialState.PRUNED),
    ],
)
def test_no_trial_stays_running(outcome: dict[str, Any], state: TrialState) -> None:
    search = searcher([])
    study = search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1, False)
    assert ask(search, "a")["level a"] in ("x", "y")
    finish(search, "a", **outcome)
    assert [trial.state for trial in study.trials] == [state]
    assert ask(search, "b") == Searcher.FINISHED


def test_a_worker_that_died_gets_its_candidate_again_once() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    study = search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1, False)
    first = ask(search, "a")
    search.on_trial_complete("a", None, error=True)
    assert done == []
    assert study.trials[0].state == TrialState.RUNNING
    second = ask(search, "b")
    assert second == first | {"attempts": 2}
    search.on_trial_complete("b", None, error=True)
    assert done[0]["outcome"]["error"] == "the worker died"
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
    assert ask(search, "c") == Searcher.FINISHED


def test_an_unforeseen_error_is_tried_again_and_may_go_well() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    study = search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1, False)
    ask(search, "a")
    finish(search, "a", error="CUDA error", crashed=True)
    ask(search, "b")
    finish(search, "b", comet=0.5, bytes=10)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
    assert done[0]["attempts"] == 2


def test_a_job_of_a_phase_is_tried_again_within_its_phase() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    ended: list[str] = []
    search.phases = [Phase("one", [{"kind": "build", "n": 1}], lambda: ended.append("one"))]
    ask(search, "a")
    search.on_trial_complete("a", None, error=True)
    assert ended == []
    assert ask(search, "b") == {"kind": "build", "n": 1, "attempts": 2}
    finish(search, "b", ok=1)
    assert ended == ["one"]


def test_a_refusal_is_not_tried_again() -> None:
    done: list[dict[str, Any]] = []
    search = searcher(done)
    search.open_study(optuna.samplers.RandomSampler(0), SPACE, 1, False)
    ask(search, "a")
    finish(search, "a", error="no room in the store")
    assert len(done) == 1


def test_whole_policies_leave_no_parameters_in_memory() -> None:
    class Whole(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002
            return SPACE

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
            return {"level a": "y"}

    search = searcher([])
    study = search.open_study(Whole(0), SPACE, 1, True)
    assert ask(search, "a")["level a"] == "y"
    finish(search, "a", comet=0.5, bytes=10)
    assert study.trials[0].values == [0.5, 10.0]
    assert study.trials[0].params == {}


def test_nothing_of_it_is_pickled(tmp_path: Path) -> None:
    search = searcher([])
    search.phases = [Phase("one", [{"unpicklable": 1}], lambda: None)]
    assert len(pickle.dumps(search)) < 200
    search.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""


def test_an_error_of_ours_ends_the_search_and_is_kept() -> None:
    def broken(job: dict[str, Any], outcome: dict[str, Any]) -> None:  # noqa: ARG001
        raise KeyError("a bug")

    search = EngineSearch(broken, lambda parameters: {"kind": "score", "name": "c1", **parameters})
    search.open_study(optuna.samplers.RandomSampler(0), SPACE, 5, False)
    ask(search, "a")
    finish(search, "a", comet=0.5, bytes=10)
    assert isinstance(search.broken, KeyError)
    assert ask(search, "b") == Searcher.FINISHED


def test_an_error_while_asking_ends_the_search_too() -> None:
    nothing: dict[str, dict[str, Any]] = {}
    search = EngineSearch(lambda *_: None, lambda parameters: nothing[parameters["level a"]])
    search.open_study(optuna.samplers.RandomSampler(0), SPACE, 5, False)
    assert ask(search, "a") == Searcher.FINISHED
    assert isinstance(search.broken, KeyError)
