"""Where a run stands: what a person watches, and the same as metrics for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from cluster.jobs import Job
from cluster.metrics import Metrics, Snapshot
from cluster.pool import Activity
from results.candidate import FAILED, PRUNED, SCORED, Candidate
from results.runs import ORIGINAL
from results.series import SEARCH
from search.phases import SEARCH as SEARCH_PHASE
from search.phases import Phases
from search.progress import Progress, View, clock
from search.recorder import Recorder

METRICS_EVERY = 2.0  # seconds
RECENT = 200  # candidates that the pace is taken from
MOST_ROWS = 8  # workers of which each has a row
CACHES = ("comet", "tower", "variants")


class Workers(Protocol):
    """What is asked of the pool."""

    @property
    def alive(self) -> int:
        """Workers that are there now."""

    def waiting(self) -> str:
        """Why not all are; empty where all are."""

    def activities(self) -> list[Activity]:
        """What each worker does, by number."""


class RunStatus:
    """Numbers of a run that is under way. `verbose` shows technical counters too."""

    def __init__(
        self,
        name: str,
        trials: int,
        recorder: Recorder,
        workers: Workers,
        progress: Progress,
        phases: Phases,
        verbose: bool = False,
    ) -> None:
        self.trials, self.recorder, self.workers, self.progress = trials, recorder, workers, progress
        self.phases, self.verbose = phases, verbose
        self.metrics = Metrics(name, tuple(each.name for each in recorder.bins))
        self.busy = 0.0  # seconds the driver spent on candidates
        self.running: Counter[str] = Counter()  # jobs that workers do now, by kind
        self._totals: dict[str, dict[Any, int]] = {}  # cache → who reports → the total so far
        self._reported = 0.0
        self._scoring: float | None = None  # seconds that scoring the original took

    def begin(self, phase: str, jobs: int = 0) -> None:
        self.phases.begin(phase, jobs)
        self.update()

    def job_ended(self, job: Job, outcome: dict[str, Any]) -> None:
        self.phases.job_ended()
        self._count_hits(outcome)
        if job.get("name") == ORIGINAL:
            self._scoring = outcome.get("job_seconds")
        self.metrics.job_ended(job["kind"], outcome.get("job_seconds"), ok="error" not in outcome)
        self.update()

    def update(self) -> None:
        """Cheap enough for every result: the line and the metrics are renewed now and then."""
        if time.time() - self._reported > METRICS_EVERY:
            self._reported = time.time()
            self.metrics.update(self.snapshot())
        self.progress.update(self.view)

    def close(self) -> None:
        self.metrics.update(self.snapshot())
        self.metrics.close()

    def _count_hits(self, outcome: dict[str, Any]) -> None:
        """Workers report totals; the latest of each is summed."""
        for cache, total in (outcome.get("hits") or {}).items():
            self._totals.setdefault(cache, {})[outcome.get("worker")] = total
        if "comet_hits" in outcome:
            self._totals.setdefault("comet", {})[outcome.get("scorer")] = outcome["comet_hits"]

    def hits(self, cache: str) -> int:
        return sum(self._totals.get(cache, {}).values())

    def seconds_left(self) -> float | None:
        """To the end of the run, None where that cannot be told yet."""
        original, scoring = self.recorder.find(ORIGINAL), self._scoring
        if scoring is None and original is not None and original.segments:  # by an earlier part of this run
            scoring = original.cached_seconds_per_segment * original.segments
        return self.phases.seconds_left(scoring, len(self.workers.activities()), self._search_left())

    def _search_left(self) -> float | None:
        """Seconds to the end of the search, from its pace; None where it has none, or has not begun."""
        if self.phases.name != SEARCH_PHASE:
            return None
        seconds = [c.seconds for c in self.recorder.candidates if c.recipe == SEARCH][-RECENT:]
        if len(seconds) < 2 or seconds[-1] <= seconds[0]:
            return None
        return (seconds[-1] - seconds[0]) / (len(seconds) - 1) * max(self.trials - self._ended(), 0)

    def _ended(self) -> int:
        return sum(self.recorder.count(status) for status in (SCORED, PRUNED, FAILED))

    def snapshot(self) -> Snapshot:
        count = self.recorder.count
        recent = [c for c in self.recorder.candidates[-50:] if c.segments]
        span = recent[-1].seconds - recent[0].seconds if len(recent) > 1 else 0.0
        return Snapshot(
            done=count(SCORED),
            running=self.running.total(),
            stopped=count(PRUNED),
            failed=count(FAILED),
            wanted=self.trials,
            best={name: front.members[-1].comet for name, front in self.recorder.inside.items() if front.members},
            hypervolume=self.recorder.hypervolume(),
            cache_hits={cache: self.hits(cache) for cache in CACHES},
            cache_asked={cache: self.hits(f"{cache}_asked") for cache in CACHES if self.hits(f"{cache}_asked")},
            utterances=self.recorder.utterances,
            utterances_per_second=sum(c.segments for c in recent[1:]) / span if span > 0 else None,
            jobs_running={kind: number for kind, number in self.running.items() if number},
            seconds_left=self.seconds_left(),
            workers=self.workers.alive,
            driver_milliseconds=1000 * self.busy / max(len(self.recorder.candidates), 1),
        )

    def view(self) -> View:
        """Where the run stands."""
        searching, waiting = self.phases.name == SEARCH_PHASE, self.workers.waiting()
        left = self.seconds_left()
        rows = [("wait", waiting)] if waiting else []
        best = self._best()
        rows += [("best", best)] if best else []
        counts = self._counts() if searching else ""
        rows += [("so far", counts)] if counts else []
        technical = self._technical() if self.verbose and searching else ""
        rows += [("", technical)] if technical else []
        running = "" if searching else f"{self.running.total()} running"
        return View(
            title=self.phases.place,
            done=self._ended() if searching else self.phases.ended,
            total=self.trials if searching else self.phases.jobs,
            left=f"about {clock(left)} to the end of the run" if left is not None else "",
            parts=tuple(part for part in (waiting, running, best if searching else "", counts, technical) if part),
            rows=(*rows, *activity_rows(self.workers.activities())),
        )

    def _best(self) -> str:
        best = self.recorder.best()
        if best is None:
            return ""
        return f"COMET {best.comet:.4f}{self._loss(best)} at {best.bytes:,} bytes"

    def _counts(self) -> str:
        count = self.recorder.count
        return f"{count(SCORED)} scored, {count(PRUNED)} pruned, {count(FAILED)} failed"

    def _technical(self) -> str:
        now = self.snapshot()
        parts = [f"hypervolume {now.hypervolume:.4f}"]
        parts += [f"cache hits {now.cache_hits['comet']} COMET, {now.cache_hits['tower']} encoder"]
        if now.utterances_per_second:
            parts.append(f"{now.utterances_per_second:.1f} utterances/s")
        return ", ".join(parts)

    def _loss(self, best: Candidate) -> str:
        """By how much it is below the original."""
        original = self.recorder.find(ORIGINAL)
        if original is None or not original.comparable:
            return ""
        return f" ({best.comet - original.comet:+.4f} to the original)"


def activity_rows(activities: Sequence[Activity]) -> list[tuple[str, str]]:
    """A row a worker, and one that sums up those for whom there is no room."""
    rows = [(f"worker {each.worker}", each.text) for each in activities[:MOST_ROWS]]
    more = Counter(each.kind for each in activities[MOST_ROWS:])
    if more:
        rows.append(("others", ", ".join(f"{number} {kind}" for kind, number in more.most_common())))
    return rows
