"""Tune's searcher: hands out jobs in phases, the last of them asked of Optuna.

OptunaSearch is subclassed where it falls short: jobs that are not Optuna's (encoding, sensitivities, recipes) go
through the same Tune run, so that the same resident workers do everything; a job whose worker died is handed out once
more; failed, NaN and stopped trials are told as such (the stock class leaves them RUNNING for ever when there are
several objectives); a study is filled from the table on resume; and nothing is pickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

optuna.logging.set_verbosity(optuna.logging.WARNING)

Job = dict[str, Any]
Done = Callable[[Job, dict[str, Any]], None]
ATTEMPTS = 2  # a job whose worker died, or that ended in an unforeseen error, is tried so often


class Phase:
    """Jobs that may run side by side; `then` is called once all of them are done."""

    def __init__(self, name: str, jobs: Iterable[Job], then: Callable[[], None] | None = None) -> None:
        self.name = name
        self.waiting = list(jobs)
        self.total = len(self.waiting)
        self.running = 0
        self.then = then

    @property
    def finished(self) -> bool:
        return not self.waiting and not self.running


class EngineSearch(OptunaSearch):
    """Phases of jobs first; then `trials` candidates asked of the study, which `open_study` sets up when it is time."""

    def __init__(self, done: Done, to_job: Callable[[dict[str, str]], Job]) -> None:
        Searcher.__init__(self, metric=["comet", "bytes"], mode=["max", "min"])
        self._done = done
        self._to_job = to_job
        self.phases: list[Phase] = []
        self.trials = 0  # still to ask of the study
        self.retries = 0
        self.broken: Exception | None = None  # an error of ours: Tune would hide it and go on
        self._again: list[Job] = []  # candidates whose worker died
        self._jobs: dict[str, tuple[Phase | None, Job]] = {}
        self._asked: dict[str, Any] = {}  # candidate → Optuna's trial
        # What OptunaSearch's own methods use.
        self._ot_trials: dict[str, Any] = {}
        self._completed_trials: set[str] = set()
        self._ot_study: Any = None
        self._space: Any = None
        self._points_to_evaluate = None
        self._whole = False

    def open_study(self, sampler: BaseSampler, distributions: dict[str, Any], trials: int, whole: bool) -> Any:
        """`whole`: the sampler suggests whole policies, so that Optuna need not go through 200 parameters one by one,
        nor hold them: the journal does."""
        self._space, self._whole = distributions, whole
        self._sampler, self._storage, self._study_name = sampler, None, "search"
        self._setup_study(["max", "min"])
        self.trials = trials
        return self._ot_study

    @property
    def running(self) -> int:
        return len(self._jobs)

    def job_of(self, trial_id: str) -> Job | None:
        return self._jobs[trial_id][1] if trial_id in self._jobs else None

    def running_kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, job in self._jobs.values():
            found[job["kind"]] = found.get(job["kind"], 0) + 1
        return found

    def break_off(self, error: Exception) -> None:
        """Ends the search; whoever started it raises the error. Tune logs what its searcher raises, and goes on."""
        self.broken = self.broken or error
        self.phases.clear()
        self._again.clear()
        self.trials = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        try:
            return self._next(trial_id)
        except Exception as error:
            self.break_off(error)
            return Searcher.FINISHED if not self._jobs else None

    def _next(self, trial_id: str) -> dict[str, Any] | str | None:
        while self.phases:
            phase = self.phases[0]
            if phase.waiting:
                job = phase.waiting.pop(0)
                phase.running += 1
                self._jobs[trial_id] = (phase, job)
                return {"job": json.dumps(job)}
            if not phase.finished:
                return None  # later phases build on this one
            self._end_phase()
        if self._again:
            job = self._again.pop(0)
        elif self.trials <= 0:
            return Searcher.FINISHED if not self._jobs else None
        else:
            self.trials -= 1
            job = self._ask(trial_id)
        self._jobs[trial_id] = (None, job)
        return {"job": json.dumps(job)}

    def _ask(self, trial_id: str) -> Job:
        if self._whole:
            trial = self._ot_study.ask()
            parameters = trial.relative_params
        else:
            super().suggest(trial_id)
            trial = self._ot_trials.pop(trial_id)
            parameters = trial.params
        job = self._to_job(parameters)
        self._asked[job["name"]] = trial
        return job

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        try:
            self._complete(trial_id, result, error)
        except Exception as found:
            self.break_off(found)

    def _complete(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        if trial_id not in self._jobs:
            return
        phase, job = self._jobs.pop(trial_id)
        outcome = json.loads((result or {}).get("outcome", "{}"))
        died = error or not outcome
        if died:
            outcome = {"error": "the worker died"}
        job["attempts"] = job.get("attempts", 1)
        if (died or outcome.get("crashed")) and job["attempts"] < ATTEMPTS:
            self.retries += 1
            job["attempts"] += 1
            if phase is None:
                self._again.append(job)
            else:
                phase.running -= 1
                phase.waiting.append(job)
            return
        self._done(job, outcome)
        if phase is None:
            self._tell(job["name"], outcome)
            return
        phase.running -= 1
        if phase.finished and self.phases and self.phases[0] is phase:
            self._end_phase()

    def _end_phase(self) -> None:
        phase = self.phases.pop(0)
        if phase.then is not None:
            phase.then()

    def _tell(self, name: str, outcome: dict[str, Any]) -> None:
        trial = self._asked.pop(name)
        comet, size = outcome.get("comet"), outcome.get("bytes")
        if comet is None or size is None or not math.isfinite(comet):
            self._ot_study.tell(trial, state=TrialState.PRUNED if outcome.get("stopped") else TrialState.FAIL)
        else:
            self._ot_study.tell(trial, [comet, size])

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to be able to restore it; there is nothing in it that we would read back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the run's table and journal are what is resumed from, so it is empty."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its run folder: --resume")
