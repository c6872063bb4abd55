"""Where a run stands: the line that a person watches, and the same as metrics for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.jobs import Job
from cluster.metrics import Metrics, Snapshot
from results.candidate import FAILED, PRUNED, SCORED, Candidate
from results.runs import ORIGINAL
from search.progress import Progress, clock
from search.recorder import SEARCH, Recorder

METRICS_EVERY = 2.0  # seconds
RECENT = 200  # candidates that the pace is taken from
CACHES = ("comet", "tower", "variants")


class RunStatus:
    """Numbers of a run that is under way. `alive` tells how many workers are there now, `waiting` why not all are."""

    def __init__(
        self,
        name: str,
        trials: int,
        recorder: Recorder,
        alive: Callable[[], int],
        progress: Progress,
        waiting: Callable[[], str] = lambda: "",
        verbose: bool = False,
    ) -> None:
        self.trials, self.recorder, self.alive, self.progress = trials, recorder, alive, progress
        self.waiting, self.verbose = waiting, verbose
        self.metrics = Metrics(name, tuple(each.name for each in recorder.bins))
        self.busy = 0.0  # seconds the driver spent on candidates
        self.step, self.total, self.ended = "", 0, 0  # of the preparation: its name, its jobs, those that ended
        self.running: Counter[str] = Counter()  # jobs that workers do now, by kind
        self._totals: dict[str, dict[Any, int]] = {}  # cache → who reports → the total so far
        self._reported = 0.0

    def begin(self, step: str, total: int) -> None:
        """A step of the preparation begins; '' for the search itself."""
        self.step, self.total, self.ended = step, total, 0
        self.update()

    def job_ended(self, job: Job, outcome: dict[str, Any]) -> None:
        self.ended += 1
        self._count_hits(outcome)
        self.metrics.job_ended(job["kind"], outcome.get("job_seconds"), ok="error" not in outcome)
        self.update()

    def update(self) -> None:
        """Cheap enough for every result: the line and the metrics are renewed now and then."""
        if time.time() - self._reported > METRICS_EVERY:
            self._reported = time.time()
            self.metrics.update(self.snapshot())
        self.progress.update(self.parts)

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
        """To the end, from the pace of the search so far."""
        seconds = [c.seconds for c in self.recorder.candidates if c.recipe == SEARCH][-RECENT:]
        if len(seconds) < 2 or seconds[-1] <= seconds[0]:
            return None
        to_come = self.trials - sum(self.recorder.count(status) for status in (SCORED, PRUNED, FAILED))
        return (seconds[-1] - seconds[0]) / (len(seconds) - 1) * max(to_come, 0)

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
            workers=self.alive(),
            driver_milliseconds=1000 * self.busy / max(len(self.recorder.candidates), 1),
        )

    def parts(self) -> list[str]:
        """Where the run stands, the most important first: a narrow terminal shows only the beginning."""
        if self.step:
            waiting = self.waiting()
            return [
                f"{self.step} {self.ended}/{self.total}, {self.running.total()} running",
                *([waiting] if waiting else []),
            ]
        best, now, left = self.recorder.best(), self.snapshot(), self.seconds_left()
        ended = now.done + now.stopped + now.failed
        parts = [f"candidates {ended}/{now.wanted}", f"{clock(left) if left is not None else '?'} left"]
        if best is not None:
            parts.append(f"best COMET {best.comet:.4f}{self._loss(best)} at {best.bytes:,} bytes")
        parts.append(f"{now.done} scored, {now.stopped} pruned, {now.failed} failed, {now.running} running")
        if self.verbose:
            parts += [f"hypervolume {now.hypervolume:.4f}"]
            parts += [f"cache hits {now.cache_hits['comet']} COMET, {now.cache_hits['tower']} encoder"]
            if now.utterances_per_second:
                parts.append(f"{now.utterances_per_second:.1f} utterances/s")
        return parts

    def _loss(self, best: Candidate) -> str:
        """By how much it is below the original."""
        original = self.recorder.find(ORIGINAL)
        return "" if original is None or not original.comparable else f" ({best.comet - original.comet:+.4f})"
