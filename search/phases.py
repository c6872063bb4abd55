"""The phases of a run: which of them this run has, where it is in them, and the time left to its end.

Before a phase has a pace of its own, its time is estimated from what scoring the data took once.
"""

from __future__ import annotations

import time

from search.workload import KL_SHARE, Workload

PREPARE, ORIGINAL, CALIBRATE, ENCODE, REPORT = "prepare", "original", "calibrate", "encode", "report"
SENSITIVITIES, BASELINES, PRUNING, SEARCH = "sensitivities", "baselines", "iterative pruning", "search"


class Phases:
    """`share` is the part of the segments that divergences are measured on."""

    def __init__(self, workload: Workload, calibration: bool, share: float) -> None:
        divergence = KL_SHARE * min(share, 1.0)
        # What a phase takes, in scores of all segments; None where that cannot be said.
        costs: dict[str, float | None] = {PREPARE: None, ORIGINAL: None}
        if calibration:
            costs |= {CALIBRATE: None}
        costs |= {ENCODE: None, SENSITIVITIES: workload.sensitivities * divergence}
        if workload.recipes or workload.drops:
            costs |= {BASELINES: float(workload.recipes + workload.drops)}
        if workload.pruning:
            costs |= {PRUNING: float(workload.pruning)}
        costs |= {SEARCH: workload.full + workload.trials * divergence, REPORT: 0.0}
        self.costs, self.names = costs, tuple(costs)
        self.begin(PREPARE)

    def begin(self, name: str, jobs: int = 0) -> None:
        """A phase begins; it may begin several times, such as once a round of iterative pruning."""
        self.name, self.jobs, self.ended, self._began = name, jobs, 0, time.monotonic()

    def job_ended(self) -> None:
        self.ended += 1

    @property
    def place(self) -> str:
        return f"phase {self.names.index(self.name) + 1} of {len(self.names)}: {self.name}"

    def seconds_left(self, scoring: float | None, workers: int, current: float | None = None) -> float | None:
        """To the end of the run; None where that cannot be told yet.

        `scoring` is what a worker took to score all segments once. `current` is what is left of the phase under way, if
        that is known better than by the pace of its jobs.
        """
        later = self.names[self.names.index(self.name) + 1 :]
        costs = [self.costs[name] for name in later]
        if current is None:
            current = self._by_pace()
        if current is None:
            costs.append(self.costs[self.name])
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs) or (scoring is None and any(known)):
            return None
        return sum(known) * (scoring or 0.0) / max(workers, 1) + (current or 0.0)

    def _by_pace(self) -> float | None:
        if not self.ended:
            return None
        return (time.monotonic() - self._began) / self.ended * (self.jobs - self.ended)
