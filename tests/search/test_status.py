"""The status of a run: every metric is reported by a run, not only declared; the line says what is going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.metrics import METRICS
from search import phases
from search.status import RunStatus
from tests.cluster.test_metrics import Recorded, told  # noqa: F401
from tests.search.tuning.runs import ask, finish, manager, scored, searcher


@pytest.fixture
def finished(tmp_path: Path, told: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch) -> RunStatus:  # noqa: F811, ARG001
    """A run without Ray: a step of the preparation, then two candidates, of which one failed."""
    monkeypatch.setattr("search.status.METRICS_EVERY", -1.0)
    search = searcher(manager(tmp_path, trials=3))
    status = search.status
    status.begin(phases.ENCODE, 1)
    status.running["build"] = 1
    status.job_ended({"kind": "build"}, {"hits": {"variants": 3, "variants_asked": 4}, "worker": 0, "job_seconds": 2.0})
    status.running["build"] = 0
    status.begin(phases.SEARCH)
    hits: dict[str, Any] = {"hits": {"tower": 5, "tower_asked": 6}, "worker": 0, "comet_hits": 7, "scorer": 0}
    for trial, outcome in (("a", scored(0.5)), ("b", scored(0.6)), ("c", {"error": "boom"})):
        ask(search, trial)
        finish(search, trial, **{**outcome, **hits, "job_seconds": 1.0})
        status.recorder.started -= 1.0  # a second passes
    return status


def value(told: dict[str, Recorded], name: str, **tags: str) -> float | None:  # noqa: F811
    return told[name].values.get(tuple(sorted({"run": "t", **tags}.items())))


def test_every_metric_is_reported_by_a_run(finished: RunStatus, told: dict[str, Recorded]) -> None:  # noqa: F811
    finished.close()
    assert set(told) == set(METRICS)
    assert not [name for name, metric in told.items() if not metric.values]
    assert value(told, "candidates", state="done") == 2
    assert value(told, "candidates", state="failed") == 1
    assert value(told, "best_comet", bin="Bin2") == 0.6
    assert value(told, "cache_hits", cache="variants") == 3
    assert value(told, "cache_asked", cache="variants") == 4
    assert value(told, "cache_hits", cache="tower") == 5
    assert value(told, "cache_hits", cache="comet") == 7
    assert value(told, "jobs_running", kind="score") == 0
    assert value(told, "jobs", kind="build", outcome="ok") == 1


def test_workers_are_those_alive_now(finished: RunStatus, told: dict[str, Recorded]) -> None:  # noqa: F811
    finished.workers.actors = [0]  # type: ignore[attr-defined]
    finished.update()
    assert value(told, "workers") == 1
    finished.workers.actors = []  # type: ignore[attr-defined]
    finished.update()
    assert value(told, "workers") == 0


def test_totals_of_two_workers_are_summed(finished: RunStatus) -> None:
    finished.job_ended({"kind": "score"}, {"hits": {"tower": 9}, "worker": 1})
    finished.job_ended({"kind": "score"}, {"hits": {"tower": 10}, "worker": 1})
    assert finished.hits("tower") == 15


def test_the_view_names_the_phase_and_what_is_known(finished: RunStatus) -> None:
    view = finished.view()
    assert (view.title, view.done, view.total) == ("phase 8 of 9: search", 3, 3)
    assert view.left == "about 0:00 to the end of the run"
    best, counts = view.parts
    assert best.startswith("COMET 0.6000 at ")
    assert counts == "2 scored, 0 pruned, 1 failed"
    assert view.rows == (("best", best), ("so far", counts), ("worker 0", "c00003, divergence, 1 s"))
    finished.begin(phases.SENSITIVITIES, 4)
    view = finished.view()
    assert (view.title, view.done, view.total) == ("phase 5 of 9: sensitivities", 0, 4)
    assert view.parts == ("0 running",)


def test_the_view_tells_what_each_worker_does_and_sums_up_the_others(finished: RunStatus) -> None:
    pool: Any = finished.workers
    pool.actors = list(range(12))
    pool.free.clear()
    pool.free.append(11)
    pool.describe(0, "c00007, divergence")
    rows = finished.view().rows
    assert ("worker 0", "c00007, divergence, 1 s") in rows
    assert [label for label, _ in rows if label.startswith("worker")] == [f"worker {n}" for n in range(8)]
    assert rows[-1] == ("others", "3 score, 1 idle")


def test_technical_counters_are_for_who_asks(finished: RunStatus) -> None:
    assert not any("hypervolume" in part for part in finished.view().parts)
    finished.verbose = True
    assert any("hypervolume " in part and "cache hits 7 COMET, 5 encoder" in part for part in finished.view().parts)
    assert any("hypervolume " in text for _, text in finished.view().rows)


def test_what_is_on_the_screen_of_a_search(tmp_path: Path) -> None:
    """A candidate that goes on to the next rung is shown to be translated; what it was given before is over."""
    search = searcher(manager(tmp_path, trials=3, rungs=("kl", "all")))
    name = ask(search, "a")["name"]
    pool: Any = search.pool
    assert pool.doing == {0: f"{name}, divergence"}
    assert search.should_continue("a", {"rung": "kl", "kl": 1e-6, "segments": 4})
    assert pool.doing == {0: f"{name}, translating"}
