"""A run's state as Prometheus metrics, through `ray.util.metrics`: what the live line says, for a dashboard.

Ray's agent on each node serves them (with the prefix `ray_`) beside Ray's own; `cluster/prometheus.yml` finds the
nodes and `cluster/grafana.json` draws them. Only the driver reports: it knows every candidate and every job.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "compression_search_"
GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
BEAT = 5.0  # seconds between two reports of the same numbers
SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


@dataclass(frozen=True)
class Declared:
    """One metric: its type, its tags beside `run`, and what it tells."""

    kind: str
    tags: tuple[str, ...]
    help: str


METRICS: dict[str, Declared] = {
    "candidates": Declared(GAUGE, ("state",), "Candidates of the run that are done, running, stopped or failed"),
    "candidates_wanted": Declared(GAUGE, (), "Candidates the run is to end with"),
    "best_comet": Declared(GAUGE, ("bin",), "Best COMET of the candidates inside a bin"),
    "hypervolume": Declared(GAUGE, (), "Share of bin times the original's COMET that the candidates dominate"),
    "cache_hits": Declared(COUNTER, ("cache",), "Answers that were already known: comet, tower, variants"),
    "cache_asked": Declared(COUNTER, ("cache",), "Questions to a cache, answered from it or not"),
    "utterances": Declared(COUNTER, (), "Utterances translated"),
    "utterances_per_second": Declared(GAUGE, (), "Utterances translated a second, all workers together"),
    "jobs_running": Declared(GAUGE, ("kind",), "Jobs that workers do now"),
    "jobs": Declared(COUNTER, ("kind", "outcome"), "Jobs that ended, ok or error"),
    "job_seconds": Declared(HISTOGRAM, ("kind",), "Seconds a job took on its worker"),
    "seconds_left": Declared(GAUGE, (), "Estimated seconds to the end of the run"),
    "workers": Declared(GAUGE, (), "Workers alive"),
    "driver_milliseconds": Declared(GAUGE, (), "Driver milliseconds a candidate: asking, summing and recording"),
}

# Told by the workers that train, not by the driver (search.recovery.runner).
RECOVERY: dict[str, Declared] = {
    "recovery_loss": Declared(GAUGE, ("task", "stage"), "Loss of a recovery in training, at its last step"),
    "recovery_held_out": Declared(GAUGE, ("task", "stage"), "Held-out loss of a recovery at its last checkpoint"),
    "recovery_step": Declared(GAUGE, ("task", "stage"), "Steps that a stage of a recovery has taken"),
    "recovery_steps": Declared(GAUGE, ("task", "stage"), "Steps that a stage of a recovery is to take"),
}


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands, in plain numbers. What is None, absent or not finite is not reported.

    Totals (`cache_hits`, `cache_asked`, `utterances`) count from the start of this process and never fall.
    """

    done: int = 0  # scored on everything they were to be scored on
    running: int = 0
    stopped: int = 0  # by a rung
    failed: int = 0
    wanted: int = 0
    best: Mapping[str, float] = field(default_factory=dict)  # bin → COMET
    hypervolume: float | None = None
    cache_hits: Mapping[str, int] = field(default_factory=dict)  # "comet", "tower", "variants" → total
    cache_asked: Mapping[str, int] = field(default_factory=dict)
    utterances: int = 0  # total
    utterances_per_second: float | None = None
    jobs_running: Mapping[str, int] = field(default_factory=dict)  # kind → now
    seconds_left: float | None = None
    workers: int | None = None
    driver_milliseconds: float | None = None  # a candidate


Tags = tuple[tuple[str, str], ...]


def levels(snapshot: Snapshot) -> dict[tuple[str, Tags], float]:
    """What goes up and down: (metric, tags) → value."""
    values: dict[tuple[str, Tags], float | None] = {
        ("candidates", (("state", state),)): getattr(snapshot, state)
        for state in ("done", "running", "stopped", "failed")
    }
    values |= {("best_comet", (("bin", name),)): comet for name, comet in snapshot.best.items()}
    values |= {("jobs_running", (("kind", kind),)): count for kind, count in snapshot.jobs_running.items()}
    values |= {
        ("candidates_wanted", ()): snapshot.wanted,
        ("hypervolume", ()): snapshot.hypervolume,
        ("utterances_per_second", ()): snapshot.utterances_per_second,
        ("seconds_left", ()): snapshot.seconds_left,
        ("workers", ()): snapshot.workers,
        ("driver_milliseconds", ()): snapshot.driver_milliseconds,
    }
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def totals(snapshot: Snapshot) -> dict[tuple[str, Tags], float]:
    """What only grows: (metric, tags) → total so far."""
    counts = {("cache_hits", (("cache", name),)): count for name, count in snapshot.cache_hits.items()}
    counts |= {("cache_asked", (("cache", name),)): count for name, count in snapshot.cache_asked.items()}
    return {key: float(value) for key, value in (counts | {("utterances", ()): snapshot.utterances}).items()}


class Metrics:
    """Reports a run. Cheap enough for every result; silent where Ray is not up, so that tests need none.

    Ray's agent forgets a gauge once it was scraped, so the last values are reported again until Ray or the run ends.
    """

    def __init__(self, run: str, bins: tuple[str, ...] = ()) -> None:
        self.run, self.bins = run, bins
        self._made: dict[str, Any] = {}
        self._reported: dict[tuple[str, Tags], float] = {}  # totals reported so far
        self._kinds: set[str] = set()
        self._now: dict[tuple[str, Tags], float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Where the run stands now."""
        if not self._ready():
            return
        now = levels(snapshot)
        # A kind without a running job must fall back to zero, not stay at its last value.
        self._kinds |= set(snapshot.jobs_running)
        for kind in self._kinds - set(snapshot.jobs_running):
            now[("jobs_running", (("kind", kind),))] = 0.0
        with self._lock:
            self._now = now
        self._report()
        if self._heart is None and not self._ended.is_set():
            self._heart = threading.Thread(target=self._beat, name="metrics", daemon=True)
            self._heart.start()
        for (name, tags), total in totals(snapshot).items():
            more = total - self._reported.get((name, tags), 0.0)
            if more > 0:
                self._made[name].inc(more, self._tags(tags))
                self._reported[(name, tags)] = total

    def job_ended(self, kind: str, seconds: float | None, ok: bool = True) -> None:
        """A job came back, or its worker died (then nobody knows the seconds)."""
        if not self._ready():
            return
        self._made["jobs"].inc(1, {"run": self.run, "kind": kind, "outcome": "ok" if ok else "error"})
        if seconds is not None and math.isfinite(seconds):
            self._made["job_seconds"].observe(max(seconds, 0.0), {"run": self.run, "kind": kind})

    def close(self) -> None:
        """The run is over; its gauges end with it."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT) and self._ready():
            self._report()

    def _report(self) -> None:
        with self._lock:
            for (name, tags), value in self._now.items():
                self._made[name].set(value, self._tags(tags))

    def _tags(self, tags: Tags) -> dict[str, str]:
        return {"run": self.run, **dict(tags)}

    def _ready(self) -> bool:
        """Makes the metrics once Ray is up; False where it is not."""
        import sys

        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return False
        if not self._made:
            from ray.util import metrics

            for name, declared in METRICS.items():
                options = {"description": declared.help, "tag_keys": ("run", *declared.tags)}
                if declared.kind == HISTOGRAM:
                    self._made[name] = metrics.Histogram(PREFIX + name, boundaries=list(SECONDS), **options)
                else:
                    made = metrics.Gauge if declared.kind == GAUGE else metrics.Counter
                    self._made[name] = made(PREFIX + name, **options)
        return True


def exported() -> set[str]:
    """The names under which Prometheus sees the metrics."""
    names = set()
    for name, declared in {**METRICS, **RECOVERY}.items():
        base = f"ray_{PREFIX}{name}"
        if declared.kind == HISTOGRAM:
            names |= {f"{base}_bucket", f"{base}_sum", f"{base}_count"}
        else:
            names.add(f"{base}_total" if declared.kind == COUNTER else base)
    return names
