"""Metrics: what is declared is what is told, totals only grow, and nothing happens where Ray is not up."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import metrics
from cluster.metrics import METRICS, RECOVERY, Metrics, Snapshot, exported, levels, totals

CLUSTER = Path(metrics.__file__).parent
FULL = Snapshot(
    done=3,
    running=2,
    stopped=1,
    failed=0,
    wanted=10,
    best={"Bin1": 0.7, "Bin2": 0.8},
    hypervolume=0.4,
    cache_hits={"comet": 5, "tower": 0, "variants": 2},
    cache_asked={"comet": 9, "tower": 1, "variants": 2},
    utterances=64,
    utterances_per_second=3.5,
    jobs_running={"score": 2},
    seconds_left=60.0,
    workers=2,
    driver_milliseconds=4.0,
)


class Recorded:
    """Stands in for Ray's metrics: refuses what Ray refuses, keeps what it is told."""

    def __init__(
        self, name: str, description: str = "", tag_keys: tuple[str, ...] = (), boundaries: Any = None
    ) -> None:
        assert description
        self.name, self.keys, self.boundaries = name, tag_keys, boundaries
        self.values: dict[tuple[tuple[str, str], ...], float] = {}

    def _at(self, tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
        assert set(tags) == set(self.keys)
        assert all(isinstance(value, str) for value in tags.values())
        return tuple(sorted(tags.items()))

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[self._at(tags)] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray raises at nothing or less"
        self.values[self._at(tags)] = self.values.get(self._at(tags), 0.0) + value

    observe = inc


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    import ray
    from ray.util import metrics as rays

    made: dict[str, Recorded] = {}

    def make(name: str, **more: Any) -> Recorded:
        made[name.removeprefix(metrics.PREFIX)] = Recorded(name, **more)
        return made[name.removeprefix(metrics.PREFIX)]

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics, "BEAT", 3600.0)
    for kind in ("Gauge", "Counter", "Histogram"):
        monkeypatch.setattr(rays, kind, make)
    return made


def value(told: dict[str, Recorded], name: str, **tags: str) -> float | None:
    return told[name].values.get(tuple(sorted({"run": "r", **tags}.items())))


def test_everything_declared_is_reported(told: dict[str, Recorded]) -> None:
    reporter = Metrics("r", ("Bin1", "Bin2"))
    reporter.update(FULL)
    reporter.job_ended("score", 2.0)
    reporter.job_ended("sense", None, ok=False)
    assert set(told) == set(METRICS)
    assert all(found.values for found in told.values()), "a metric that is declared and never told"
    assert value(told, "candidates", state="stopped") == 1
    assert value(told, "best_comet", bin="Bin2") == 0.8
    assert value(told, "jobs", kind="sense", outcome="error") == 1
    assert value(told, "job_seconds", kind="sense") is None
    assert value(told, "workers") == 2


def test_a_kind_of_job_that_is_over_falls_to_zero(told: dict[str, Recorded]) -> None:
    reporter = Metrics("r")
    reporter.update(Snapshot(jobs_running={"build": 3}))
    reporter.update(Snapshot(jobs_running={"score": 1}))
    assert value(told, "jobs_running", kind="build") == 0
    assert value(told, "jobs_running", kind="score") == 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_a_counter_ends_at_the_last_total(growth: list[int]) -> None:
    reporter = Metrics("r")
    counter = Recorded("x", "x", ("run", "cache"))
    reporter._made = {name: Recorded(name, "x", ("run", *declared.tags)) for name, declared in METRICS.items()}
    reporter._made["cache_hits"] = counter
    with pytest.MonkeyPatch.context() as patch:
        import ray

        patch.setattr(ray, "is_initialized", lambda: True)
        total = 0
        reporter.close()
        for more in growth:
            total += more
            reporter.update(Snapshot(cache_hits={"comet": total}))
    assert sum(counter.values.values()) == total


def test_what_is_not_known_is_not_told() -> None:
    names = {name for name, _ in levels(Snapshot(best={"Bin1": float("nan")}, hypervolume=float("inf")))}
    assert names == {"candidates", "candidates_wanted"}
    assert totals(Snapshot()) == {("utterances", ()): 0.0}


def test_what_was_told_last_is_told_again(told: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BEAT", 0.01)
    reporter = Metrics("r")
    reporter.update(FULL)
    told["workers"].values.clear()  # as Ray's agent forgets
    deadline = time.time() + 60
    while value(told, "workers") is None and time.time() < deadline:
        time.sleep(0.01)
    assert value(told, "workers") == 2
    reporter.close()
    assert reporter._heart is not None
    reporter._heart.join(timeout=60)
    assert not reporter._heart.is_alive(), "a run that is over is no longer told"


def test_without_ray_nothing_happens() -> None:
    reporter = Metrics("r")
    reporter.update(FULL)
    reporter.job_ended("score", 1.0)
    assert reporter._made == {}


def test_the_dashboard_draws_only_what_exists_and_all_of_it() -> None:
    text = (CLUSTER / "grafana.json").read_text(encoding="utf-8")
    expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", [])]
    named = {name for each in expressions for name in re.findall(r"\bray_compression_search_\w+", each)}
    assert named <= exported()
    left = {
        name
        for name in {**METRICS, **RECOVERY}
        if not any(found.startswith(f"ray_{metrics.PREFIX}{name}") for found in named)
    }
    assert not left, "told, but not drawn"
