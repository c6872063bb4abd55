"""The study as a file that `optuna-dashboard` opens: finished candidates are added, several in one write."""

from __future__ import annotations

import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from compress.errors import UserError

STUDY = "search"


GATHERED, PATIENCE = 16, 5.0  # trials, and seconds, that may wait to be written


class Gathering(JournalFileBackend):
    """Writes several trials at once: a lock, an open and a flush to disk for each are 3 ms of the driver's.

    What a kill takes with it is in the run's table, and comes back with --resume.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._waiting: list[dict[str, Any]] = []
        self._written = time.monotonic()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._waiting += logs
        if len(self._waiting) >= GATHERED or time.monotonic() - self._written > PATIENCE:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            super().append_logs(self._waiting)
            self._waiting = []
        self._written = time.monotonic()


class Blind(JournalStorage):
    """A journal that writes and does not read along.

    Optuna's own replays every line it wrote, with new distributions for each of a trial's 200 parameters: 0.2 MB of
    memory a candidate, for what the run's table tells as well. The method is a private one of Optuna's; a test
    watches that what is written so is what Optuna reads.
    """

    def __init__(self, backend: JournalFileBackend) -> None:
        super().__init__(backend)
        self._replay_result._last_created_trial_id_by_this_process = 0

    def _sync_with_backend(self) -> None:
        pass


class Journal:
    """Adds trials to the file. What is in it already is read once, at the start, and not kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            study = self.study
        except Exception as error:
            raise UserError(
                f"the study {path} is damaged ({type(error).__name__}): move it away, the run's table has all of it"
            ) from None
        self.known = {trial.user_attrs.get("candidate", "") for trial in study.get_trials(deepcopy=False)}
        self._study_id = study._study_id
        self._file = Gathering(str(path))
        self._storage = Blind(self._file)

    @property
    def study(self) -> Any:
        """The study, read from the file."""
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.path))),
            study_name=STUDY,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        if "study:metric_names" not in study._storage.get_study_system_attrs(study._study_id):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(["comet", "bytes"])
        return study

    def add(
        self,
        candidate: str,
        recipe: str,
        parameters: dict[str, str],
        distributions: dict[str, Any],
        values: list[float] | None,
        stopped: bool = False,
    ) -> None:
        state = TrialState.COMPLETE if values else TrialState.PRUNED if stopped else TrialState.FAIL
        now = datetime.now()
        # Not optuna.trial.create_trial, which goes through all levels of all parameters twice: 5 ms at full size.
        trial = optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=now,
            datetime_complete=now,
            params=parameters,
            distributions=distributions,
            user_attrs={"candidate": candidate, "recipe": recipe},
            system_attrs={},
            intermediate_values={},
        )
        self._storage.create_new_trial(self._study_id, template_trial=trial)
        self.known.add(candidate)

    def flush(self) -> None:
        """Writes what still waits."""
        self._file.flush()
