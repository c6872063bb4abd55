"""The Optuna study as a file that `optuna-dashboard` opens: a copy of the run's table, kept up with it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from results.atomic_write import full_disk
from results.candidate import FAILED, SCORED

STUDY = "search"
METRICS, DIRECTIONS = ["comet", "bytes"], ["maximize", "minimize"]
BATCH, PATIENCE = 16, 5.0  # trials, and seconds, that may wait to be written
HEAVY = ("params", "distributions")  # what a log of a trial holds for each of its two hundred parameters


@dataclass(frozen=True)
class JournalEntry:
    """A candidate as the study shows it."""

    candidate: str
    recipe: str
    parameters: Mapping[str, str]
    values: tuple[float, float] | None  # COMET and bytes, None unless it was scored
    state: TrialState

    @classmethod
    def of(
        cls, candidate: str, recipe: str, parameters: Mapping[str, str], status: str, comet: float, size: int
    ) -> Any:
        values = (comet, float(size)) if status == SCORED else None
        state = TrialState.COMPLETE if values else TrialState.FAIL if status == FAILED else TrialState.PRUNED
        return cls(candidate, recipe, parameters, values, state)

    def trial(self, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
        now = datetime.now()
        # Not optuna.trial.create_trial, which validates every level of every parameter twice: 5 ms at full size.
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=self.state,
            value=None,
            values=self.values,
            datetime_start=now,
            datetime_complete=now,
            params=dict(self.parameters),
            distributions=dict(distributions),
            user_attrs={"candidate": self.candidate, "recipe": self.recipe},
            system_attrs={},
            intermediate_values={},
        )


class _GatheringBackend(BaseJournalBackend):
    """Optuna's journal file, written several trials at a time and read back without their parameters.

    A lock, an open and a flush to disk cost 3 ms each time. JournalStorage replays every line it writes, with new
    distributions for each parameter: 0.2 MB of memory a candidate, for what the run's table holds as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFileBackend(str(path))
        self._logs = [self._light(log) for log in self._file.read_logs(0)]
        self._waiting: list[dict[str, Any]] = []
        self._written = time.monotonic()

    @staticmethod
    def _light(log: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in log.items() if key not in HEAVY}

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs += [self._light(log) for log in logs]
        self._waiting += logs
        if len(self._waiting) >= BATCH or time.monotonic() - self._written > PATIENCE:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            try:
                self._file.append_logs(self._waiting)
            except OSError as error:
                raise full_disk(error, self._path) from None
            self._waiting = []
        self._written = time.monotonic()


class Journal:
    """Adds candidates to the file. It is made anew where it does not hold exactly the candidates it should hold."""

    def __init__(
        self,
        path: Path,
        distributions: Mapping[str, BaseDistribution],
        entries: Sequence[JournalEntry] = (),
        study: str = STUDY,
    ) -> None:
        self._distributions, self._study = distributions, study
        if not path.exists() or candidates_in(path) != [entry.candidate for entry in entries]:
            self._make_anew(path, entries)
            return
        try:
            self._open(path)
        except Exception:  # Optuna believes its file: a damaged one may end in anything
            self._make_anew(path, entries)

    def _open(self, path: Path) -> None:
        self._backend = _GatheringBackend(path)
        self._storage = JournalStorage(self._backend)
        self._study_id = self._storage.get_study_id_from_name(self._study)

    def _make_anew(self, path: Path, entries: Sequence[JournalEntry]) -> None:
        path.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))), study_name=self._study, directions=DIRECTIONS
            )
            study.set_metric_names(METRICS)
        self._open(path)
        for entry in entries:
            self.add(entry)
        self.flush()

    def add(self, entry: JournalEntry) -> None:
        self._storage.create_new_trial(self._study_id, template_trial=entry.trial(self._distributions))

    def flush(self) -> None:
        """Writes what still waits."""
        self._backend.flush()


def candidates_in(path: Path) -> list[str] | None:
    """Names of the candidates that a journal holds, in order; None for one that is missing, cut off or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        attributes = [line["user_attrs"] for line in lines if "user_attrs" in line and "values" in line]
        names = [str(each["candidate"]) for each in attributes]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return names if text.endswith("\n") and lines else None
