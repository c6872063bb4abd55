"""Tune's searcher: hands out jobs in phases, the last of them asked of Optuna.

OptunaSearch is subclassed where it falls short: jobs that are not Optuna's (encoding, sensitivities, recipes) go
through the same Tune run, so that the same resident workers do everything; failed and NaN trials are told as FAIL
(the stock class leaves them RUNNING for ever when there are several objectives); a study is filled from the table
on resume; and nothing is pickled.
"""

from __future__ import annotations

import json
import math
import warnings
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

    def __init__(self, done: Done, to_job: Callable[[str, dict[str, str]], Job]) -> None:
        Searcher.__init__(self, metric=["comet", "bytes"], mode=["max", "min"])
        self._done = done
        self._to_job = to_job
        self.phases: list[Phase] = []
        self.trials = 0  # still to ask of the study
        self._jobs: dict[str, tuple[Phase | None, Job]] = {}
        # What OptunaSearch's own methods use.
        self._ot_trials: dict[str, Any] = {}
        self._completed_trials: set[str] = set()
        self._ot_study: Any = None
        self._space: Any = None
        self._points_to_evaluate = None

    def open_study(self, sampler: BaseSampler, distributions: dict[str, Any], trials: int) -> Any:
        self._space = distributions
        self._sampler, self._storage, self._study_name = sampler, None, "search"
        self._setup_study(["max", "min"])
        self.trials = trials
        return self._ot_study

    @property
    def running(self) -> int:
        return len(self._jobs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
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
        if self.trials <= 0:
            return Searcher.FINISHED if not self._jobs else None
        self.trials -= 1
        super().suggest(trial_id)
        job = self._to_job(trial_id, self._ot_trials[trial_id].params)
        self._jobs[trial_id] = (None, job)
        return {"job": json.dumps(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id not in self._jobs:
            return
        phase, job = self._jobs.pop(trial_id)
        outcome = json.loads((result or {}).get("outcome", "{}"))
        if error or not outcome:
            outcome.setdefault("error", "the worker died")
        self._done(job, outcome)
        if phase is None:
            self._tell(trial_id, outcome)
            return
        phase.running -= 1
        if phase.finished and self.phases and self.phases[0] is phase:
            self._end_phase()

    def _end_phase(self) -> None:
        phase = self.phases.pop(0)
        if phase.then is not None:
            phase.then()

    def _tell(self, trial_id: str, outcome: dict[str, Any]) -> None:
        trial = self._ot_trials.pop(trial_id)
        comet, size = outcome.get("comet"), outcome.get("bytes")
        if comet is None or size is None or not math.isfinite(comet):
            self._ot_study.tell(trial, state=TrialState.FAIL)
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


class Journal:
    """The study as a file that `optuna-dashboard` opens: every finished trial is added in one write."""

    def __init__(self, path: Path) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="search",
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(["comet", "bytes"])

    def known(self) -> set[str]:
        return {trial.user_attrs.get("candidate", "") for trial in self.study.get_trials(deepcopy=False)}

    def add(
        self,
        candidate: str,
        recipe: str,
        parameters: dict[str, str],
        distributions: dict[str, Any],
        values: list[float] | None,
    ) -> None:
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if values else TrialState.FAIL,
                values=values,
                params=parameters,
                distributions=distributions,
                user_attrs={"candidate": candidate, "recipe": recipe},
            )
        )
