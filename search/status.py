"""Where a run stands: the live line, and the same as metrics for Prometheus."""

from __future__ import annotations

import time
from typing import Any

from cluster.metrics import Metrics, Snapshot
from results.candidate import FAILED, PRUNED, SCORED
from search.config import Config
from search.progress import clock
from search.recorder import Recorder
from search.tuning.searcher import EngineSearch, Job
from search.tuning.trials import SEARCH

METRICS_EVERY = 2.0  # seconds
RECENT = 200  # candidates that the pace is taken from


class RunStatus:
    """Numbers of a run that is under way."""

    def __init__(self, config: Config, recorder: Recorder, searcher: EngineSearch, workers: int) -> None:
        self.config, self.recorder, self.searcher, self.workers = config, recorder, searcher, workers
        self.metrics = Metrics(config.name, tuple(each.name for each in recorder.bins))
        self.busy = 0.0  # seconds the driver spent on candidates
        self._hits: dict[str, dict[Any, int]] = {"comet": {}, "tower": {}, "tower_asked": {}}
        self._told = 0.0

    def report(self, job: Job, outcome: dict[str, Any]) -> None:
        """A job ended: to the metrics, and now and then everything else."""
        self.metrics.job_ended(job["kind"], outcome.get("job_seconds"), ok="error" not in outcome)
        if time.time() - self._told > METRICS_EVERY:
            self._told = time.time()
            self.metrics.update(self.snapshot())

    def count_hits(self, outcome: dict[str, Any]) -> None:
        """Workers tell totals; the latest of each is summed."""
        worker = outcome.get("worker", "")
        for cache, total in (outcome.get("hits") or {}).items():
            self._hits[cache][worker] = total
        if "comet_hits" in outcome:
            self._hits["comet"][outcome.get("scorer", "")] = outcome["comet_hits"]

    def hits(self) -> dict[str, int]:
        return {cache: sum(told.values()) for cache, told in self._hits.items()}

    def left(self) -> float | None:
        """Seconds to the end, from the pace of the search so far."""
        seconds = [c.seconds for c in self.recorder.candidates if c.recipe == SEARCH][-RECENT:]
        if len(seconds) < 2 or seconds[-1] <= seconds[0]:
            return None
        return (seconds[-1] - seconds[0]) / (len(seconds) - 1) * max(self._to_come(), 0)

    def _to_come(self) -> int:
        return self.config.trials - sum(self.recorder.count(status) for status in (SCORED, PRUNED, FAILED))

    def snapshot(self) -> Snapshot:
        hits = self.hits()
        count = self.recorder.count
        done = [c for c in self.recorder.candidates[-50:] if c.segments]
        span = done[-1].seconds - done[0].seconds if len(done) > 1 else 0.0
        return Snapshot(
            done=count(SCORED),
            running=self.searcher.running,
            stopped=count(PRUNED),
            failed=count(FAILED),
            wanted=self.config.trials,
            best={name: front.members[-1].comet for name, front in self.recorder.inside.items() if front.members},
            hypervolume=self.recorder.hypervolume(),
            cache_hits={"comet": hits["comet"], "tower": hits["tower"]},
            cache_asked={"tower": hits["tower_asked"]},
            utterances=self.recorder.utterances,
            utterances_per_second=sum(c.segments for c in done[1:]) / span if span > 0 else None,
            jobs_running=self.searcher.running_kinds(),
            seconds_left=self.left(),
            workers=self.workers,
            driver_milliseconds=1000 * self.busy / max(len(self.recorder.candidates), 1),
        )

    def line(self) -> str:
        """Where the run stands, in one line."""
        phase = self.searcher.phases[0] if self.searcher.phases else None
        if phase is not None:
            finished = phase.total - len(phase.waiting) - phase.running
            return f"{phase.name} {finished}/{phase.total}, {self.searcher.running} running"
        best, now, left = self.recorder.best(), self.snapshot(), self.left()
        speed = f" | {now.utterances_per_second:.1f} utterances/s" if now.utterances_per_second else ""
        return (
            f"candidates {now.done + now.stopped + now.failed}/{now.wanted}: {now.done} scored, {now.stopped} stopped,"
            f" {now.failed} failed, {now.running} running"
            f" | best COMET {f'{best.comet:.4f} at {best.bytes:,} bytes' if best else '-'}"
            f" | hypervolume {now.hypervolume:.4f}"
            f" | cache hits {now.cache_hits['comet']} COMET, {now.cache_hits['tower']} tower{speed}"
            f" | {clock(left) if left is not None else '?'} left"
        )
