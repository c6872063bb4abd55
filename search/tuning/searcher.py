"""Optuna under Tune: OptunaSearch, with what it lacks.

A trial whose values are missing or no numbers ends for Optuna as pruned or failed (the stock class leaves it RUNNING
for ever when there are several objectives). A candidate whose worker died, or that ended in an unforeseen error, is
handed out once more. Nothing is pickled: the run's table is what a search is resumed from.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cluster.jobs import SCORE, describe_rung
from cluster.pool import ATTEMPTS, DIED, WorkerPool
from search.status import RunStatus
from search.tuning.journal import DIRECTIONS, METRICS, STUDY, JournalEntry
from search.tuning.trials import PendingTrial, TrialManager

optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(entries: list[JournalEntry], distributions: Mapping[str, BaseDistribution]) -> InMemoryStorage:
    """Earlier candidates as the study that a sampler of Optuna's goes on with."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=STUDY, directions=DIRECTIONS)
    study.add_trials([entry.trial(distributions) for entry in entries])
    return storage


class ParetoSearch(OptunaSearch):
    """Asks Optuna for parameters, and hands out a candidate with the worker that is to evaluate it.

    Tune logs what a searcher raises and goes on; so the first error ends the search and is kept for whoever runs it.
    """

    def __init__(
        self,
        manager: TrialManager,
        pool: WorkerPool,
        sampler: BaseSampler,
        distributions: Mapping[str, BaseDistribution],
        storage: InMemoryStorage | None,
        status: RunStatus,
        first: Sequence[dict[str, str]] = (),
    ) -> None:
        """`first` are parameters that are handed out before the sampler is asked."""
        super().__init__(
            space=dict(distributions),
            metric=METRICS,
            mode=["max", "min"],
            points_to_evaluate=list(first) or None,
            sampler=sampler,
            study_name=STUDY,
            storage=storage,
        )
        self.manager, self.pool, self.status = manager, pool, status
        self.error: Exception | None = None
        self._running: dict[str, tuple[PendingTrial, int]] = {}  # Tune's trial → the candidate, and its worker
        self._again: list[PendingTrial] = []
        self._optuna_ids: dict[str, str] = {}  # candidate → under which of Tune's trials Optuna knows it

    @property
    def running(self) -> int:
        return len(self._running)

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Round everything that Tune calls: counts the driver's time, and keeps the first error."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.error = self.error or error
        finally:
            self.status.busy += time.perf_counter() - started
            self.status.running = Counter({SCORE: len(self._running)})

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self.measured():
            return self._suggest(trial_id)
        return None if self._running else Searcher.FINISHED

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.error is not None or not (self._again or self.manager.remaining > 0):
            return None if self._running else Searcher.FINISHED
        worker = self.pool.borrow(SCORE)
        if worker is None:
            return None  # Tune asks again
        try:
            if self._again:
                trial = self._again.pop(0)
            else:
                trial = self.manager.start(super().suggest(trial_id))
                self._optuna_ids[trial.name] = trial_id
        except Exception:
            self.pool.give_back(worker)
            raise
        self._running[trial_id] = (trial, worker)
        self.pool.describe(worker, describe_rung(trial.name, trial.rungs[0]))
        return {"worker": worker, "job": json.dumps(self.manager.job(trial))}

    def should_continue(self, trial_id: str, outcome: dict[str, Any]) -> bool:
        """After a rung that is not the last: whether the candidate goes on to the next."""
        trial, worker = self._running[trial_id]
        if not self.manager.should_continue(trial, outcome):
            return False
        self.pool.describe(worker, describe_rung(trial.name, trial.rungs[trial.rungs.index(outcome["rung"]) + 1]))
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        with self.measured():
            self._complete(trial_id, result, error)

    def _complete(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        if trial_id not in self._running:
            return
        trial, worker = self._running.pop(trial_id)
        outcome = json.loads((result or {}).get("outcome", "{}"))
        died = error or not outcome or bool(outcome.get("died"))  # the worker, or Tune's trial with its machine
        self.pool.give_back(worker, died)
        if died:
            outcome = {"error": DIED, "crashed": True}
        if outcome.get("crashed") and trial.attempts < ATTEMPTS:
            trial.attempts += 1
            self._again.append(trial)
            return
        candidate = self.manager.finish(trial, outcome)
        scored = "error" not in outcome and not outcome["pruned"] and math.isfinite(candidate.comet)
        values = {"comet": candidate.comet, "bytes": float(candidate.bytes)} if scored else None
        super().on_trial_complete(self._optuna_ids.pop(trial.name), values, error=not outcome["pruned"])
        self.status.job_ended({"kind": SCORE, "name": trial.name}, outcome)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to be able to restore it; there is nothing in it that we would read back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the run's table is what is resumed from, so it is empty."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its run folder: --resume")
