"""The status of a run: every metric is reported by a run, not only declared; the line says what is going on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.metrics import METRICS
from search.progress import Progress, fitting
from search.status import RunStatus
from tests.cluster.test_metrics import Recorded, told  # noqa: F401
from tests.search.tuning.runs import ask, finish, manager, scored, searcher


@pytest.fixture
def finished(tmp_path: Path, told: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch) -> RunStatus:  # noqa: F811, ARG001
    """A run without Ray: a step of the preparation, then two candidates, of which one failed."""
    monkeypatch.setattr("search.status.METRICS_EVERY", -1.0)
    search = searcher(manager(tmp_path, trials=3))
    status = search.status
    status.begin("encode", 1)
    status.running["build"] = 1
    status.job_ended({"kind": "build"}, {"hits": {"variants": 3, "variants_asked": 4}, "worker": 0, "job_seconds": 2.0})
    status.running["build"] = 0
    status.begin("", 0)
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
    finished.alive = lambda: 1
    finished.update()
    assert value(told, "workers") == 1
    finished.alive = lambda: 0
    finished.update()
    assert value(told, "workers") == 0


def test_totals_of_two_workers_are_summed(finished: RunStatus) -> None:
    finished.job_ended({"kind": "score"}, {"hits": {"tower": 9}, "worker": 1})
    finished.job_ended({"kind": "score"}, {"hits": {"tower": 10}, "worker": 1})
    assert finished.hits("tower") == 15


def test_the_line_names_the_step_then_the_candidates(finished: RunStatus) -> None:
    candidates, left, best, counts = finished.parts()
    assert (candidates, left) == ("candidates 3/3", "0:00 left")
    assert best.startswith("best COMET 0.6000 at ")
    assert counts == "2 scored, 0 pruned, 1 failed, 0 running"
    finished.begin("sensitivities", 4)
    assert finished.parts() == ["sensitivities 0/4, 0 running"]


def test_technical_counters_are_for_who_asks(finished: RunStatus) -> None:
    assert not any("hypervolume" in part for part in finished.parts())
    finished.verbose = True
    assert any(part.startswith("hypervolume ") for part in finished.parts())
    assert any(part.startswith("cache hits 7 COMET, 5 encoder") for part in finished.parts())


@given(st.lists(st.text("abc ", min_size=1, max_size=30), min_size=1, max_size=6), st.integers(1, 120))
def test_the_line_is_as_wide_as_the_terminal_at_most(parts: list[str], columns: int) -> None:
    line = fitting(parts, columns)
    assert len(line) <= columns
    whole = fitting(parts, 10_000)
    assert whole.startswith(line)
    assert len(whole) == sum(map(len, parts)) + max(0, 3 * (len(parts) - 1) - 2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_of_80_columns_nothing_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    progress = Progress(stream)
    progress.update(lambda: ["x" * 30] * 8, force=True)
    progress.update(lambda: ["y" * 200], force=True)
    progress.say("done")
    shown = [line for line in stream.getvalue().replace("\n", "\r").split("\r") if line]
    assert max(map(len, shown)) < 80
    assert shown[-1] == "done"


def test_progress_is_written_now_and_then_to_a_log_and_whole() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for _ in range(3):
        progress.update(lambda: ["a line", "x" * 300])
    assert stream.getvalue().count("a line") <= 1
    progress.update(lambda: ["a line", "x" * 300], force=True)
    assert "x" * 300 in stream.getvalue()
