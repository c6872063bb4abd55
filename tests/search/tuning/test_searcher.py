"""The searcher: a worker for each candidate, candidates tried again, no trial left running, nothing pickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from compress import Policy
from search.sampling.registry import NAMES
from search.space.space import Choice
from search.space.uniform import first_choices
from search.tuning.journal import JournalEntry
from tests.search.tuning.runs import Pool, ask, finish, manager, scored, searcher
from tests.search.worlds import world


def states(search: Any) -> list[TrialState]:
    return [entry.state for entry in search.manager.earlier()]


class Observed(RandomSampler):
    """Notes what Optuna is told at the end of each trial."""

    def __init__(self, inner: Any) -> None:
        super().__init__(0)
        self.inner, self.ended = inner, list[tuple[TrialState, Any]]()

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self.inner.sample_relative(study, trial, search_space)

    def after_trial(self, study: Any, trial: Any, state: TrialState, values: Any) -> None:  # noqa: ARG002
        self.ended.append((state, values))


def observed(tmp_path: Path, **settings: Any) -> tuple[Any, Observed]:
    search = searcher(manager(tmp_path, **settings))
    sampler = Observed(search.manager.bayesian)
    from search.tuning.searcher import ParetoSearch

    pool: Any = Pool()
    return ParetoSearch(search.manager, pool, sampler, search.manager.distributions, None, search.status), sampler


@pytest.mark.parametrize("sampler", NAMES)
def test_every_sampler_suggests_candidates_inside_the_bin_until_the_last(tmp_path: Path, sampler: str) -> None:
    search = searcher(manager(tmp_path, sampler=sampler, trials=3, rungs=("all",)))
    for number in range(3):
        job = ask(search, f"t{number}")
        assert job["name"] == f"c{number + 1:05d}"
        assert job["rungs"] == ["all"]
        finish(search, f"t{number}", **scored())
    assert ask(search, "t3") == Searcher.FINISHED
    rows = search.manager.recorder.searched()
    assert [row.status for row in rows] == ["scored"] * 3
    assert all(search.manager.bins[0].holds(row.bytes) for row in rows)
    assert search.error is None


def test_there_are_as_many_candidates_as_free_workers(tmp_path: Path) -> None:
    search = searcher(manager(tmp_path), workers=2)
    first, second = ask(search, "a"), ask(search, "b")
    assert {first["name"], second["name"]} == {"c00001", "c00002"}
    assert ask(search, "c") is None, "both workers are busy"
    finish(search, "b", **scored())
    assert ask(search, "c")["name"] == "c00003"


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (scored(), TrialState.COMPLETE),
        (scored(float("nan")), TrialState.FAIL),
        ({"error": "no room"}, TrialState.FAIL),
        ({"rung": "kl", "kl": 3.0}, TrialState.PRUNED),
        ({}, TrialState.FAIL),
    ],
)
def test_no_trial_stays_running(tmp_path: Path, outcome: dict[str, Any], state: TrialState) -> None:
    search, sampler = observed(tmp_path, trials=1)
    ask(search, "a")
    for trial in ("a", "b") if not outcome else ("a",):
        finish(search, trial, **outcome)
        ask(search, "b")
    assert [ended for ended, _ in sampler.ended] == [state]
    assert states(search) == [state]
    assert search.error is None
    if state == TrialState.COMPLETE:
        assert sampler.ended[0][1][0] == 0.5


def test_a_candidate_whose_worker_died_is_tried_again_once(tmp_path: Path) -> None:
    search, sampler = observed(tmp_path, trials=1)
    first = ask(search, "a")
    finish(search, "a", died=True)
    assert search.pool.died == [0]
    assert sampler.ended == []
    assert ask(search, "b") == first
    finish(search, "b", died=True)
    (row,) = search.manager.recorder.searched()
    assert (row.status, row.attempts, row.error) == ("failed", 2, "the worker died")
    assert [state for state, _ in sampler.ended] == [TrialState.FAIL]
    assert ask(search, "c") == Searcher.FINISHED


def test_an_unforeseen_error_is_tried_again_and_may_go_well(tmp_path: Path) -> None:
    search, sampler = observed(tmp_path, trials=1)
    ask(search, "a")
    finish(search, "a", error="CUDA error", crashed=True)
    ask(search, "b")
    finish(search, "b", **scored())
    assert [state for state, _ in sampler.ended] == [TrialState.COMPLETE]
    assert search.manager.recorder.searched()[0].attempts == 2


def test_a_user_error_is_not_tried_again(tmp_path: Path) -> None:
    search, sampler = observed(tmp_path, trials=1)
    ask(search, "a")
    finish(search, "a", error="no room in the store")
    assert len(sampler.ended) == 1
    assert search.manager.recorder.searched()[0].attempts == 1


def test_a_sampler_of_optunas_goes_on_with_the_earlier_candidates(tmp_path: Path) -> None:
    search = searcher(manager(tmp_path, sampler="tpe", trials=2, rungs=("all",)))
    for trial in ("a", "b"):
        ask(search, trial)
        finish(search, trial, **scored())
    search.manager.recorder.run_dir.release()
    again = searcher(manager(tmp_path, sampler="tpe", trials=3, rungs=("all",), resume=True))
    assert all(isinstance(entry, JournalEntry) and entry.values for entry in again.manager.earlier())
    assert ask(again, "c")["name"] == "c00003"
    finish(again, "c", **scored())
    assert ask(again, "d") == Searcher.FINISHED
    assert [row.candidate for row in again.manager.recorder.searched()] == ["c00001", "c00002", "c00003"]


def test_nothing_of_it_is_pickled(tmp_path: Path) -> None:
    search = searcher(manager(tmp_path))
    assert len(pickle.dumps(search)) < 200
    search.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""


def test_an_error_of_ours_ends_the_search_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searcher(manager(tmp_path))
    ask(search, "a")

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(search.manager.recorder, "record", broken)
    finish(search, "a", **scored())
    assert isinstance(search.error, KeyError)
    assert ask(search, "b") == Searcher.FINISHED


def test_an_error_while_asking_ends_the_search_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searcher(manager(tmp_path))

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(search.manager, "start", broken)
    assert ask(search, "a") == Searcher.FINISHED
    assert isinstance(search.error, KeyError)
    assert list(search.pool.free) == [0], "its worker is free again"  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampler", NAMES)
def test_a_search_begins_with_uniform_policies_that_are_never_pruned(tmp_path: Path, sampler: str) -> None:
    def begun(resume: bool) -> tuple[Any, list[Choice]]:
        trials = manager(tmp_path, made, resume=resume, sampler=sampler, trials=5, rungs=("kl", "all"))
        uniform = first_choices(trials.constraint, made.sensitivities, trials.bins, 3)
        return searcher(trials, first=trials.begin_with(uniform)), uniform

    made = world()
    search, uniform = begun(resume=False)
    assert len(uniform) == 3
    for number in range(2):
        policy = Policy.from_json(ask(search, f"t{number}")["policy"])
        assert policy == made.space.policy(uniform[number])
        assert search.should_continue(f"t{number}", {"rung": "kl", "kl": 50.0, "segments": 4}), "however bad"
        finish(search, f"t{number}", **{**scored(0.01), "kl": 50.0})
    assert not any(row.audited for row in search.manager.recorder.searched())
    search.manager.recorder.run_dir.release()
    search, _ = begun(resume=True)
    assert Policy.from_json(ask(search, "u0")["policy"]) == made.space.policy(uniform[2]), "what was scored is known"
    finish(search, "u0", **scored())
    assert Policy.from_json(ask(search, "u1")["policy"]) not in [made.space.policy(choice) for choice in uniform]
    observation = search.manager.bayesian.observations.get(uniform[0])
    assert observation.comet == pytest.approx(0.01), "parents, and learned from"
