"""A run in the tracker that people have: TensorBoard, Weights & Biases or MLflow; one run, candidates as its steps.

Written here and not by Tune's logger callbacks, because those make a run of every trial and never see the candidates
that are scored before the search. A tracker that fails stops being used; it never ends the search. A run is known there
by an identity that is drawn once, kept in RUN/tracker.json: another run of the same name is another one.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compress.errors import UserError, first_line
from results.candidate import PRUNED, STATUS_WORDS, Candidate
from results.run_files import read_json, write_file
from search.config import Config

if TYPE_CHECKING:
    from search.recorder import Recorder

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
PROJECT = "compression-search"  # in Weights & Biases, and the experiment in MLflow
IDENTITY = "tracker.json"
Values = dict[str, float]


class Tracker(Protocol):
    """One run in a tracker."""

    last_step: int  # steps up to here are there already

    def log(self, step: int, values: Values, when: float) -> None:
        """`when`: seconds since 1970 at which the candidate was recorded."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in RUN/tensorboard. They are made anew from the run's table whenever a run goes on."""

    def __init__(self, config: Config, _identity: str) -> None:
        from tensorboardX import SummaryWriter  # only where it is asked for

        folder = config.folder / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self.last_step = 0
        self._writer = SummaryWriter(str(folder), flush_secs=5)

    def log(self, step: int, values: Values, when: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, when)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project; WANDB_ENTITY, WANDB_MODE and the like say as whom and where.

    The service knows the steps of a run that goes on. Offline its files are made anew from the run's table.
    """

    def __init__(self, config: Config, identity: str) -> None:
        import wandb  # an extra, and slow to import

        self._run: Any = wandb.init(
            project=PROJECT,
            id=identity,
            name=config.name,
            resume="allow",
            config=asdict(config),
            allow_val_change=True,  # settings that may change when a run goes on
            dir=str(config.folder),
            settings=wandb.Settings(console="off"),  # the terminal belongs to the live display
        )
        self.last_step = int(self._run.step) - 1 if self._run.resumed else 0
        if self._run.offline:
            _remove_earlier(config.folder / "wandb", Path(self._run.dir).parent, identity)

    def log(self, step: int, values: Values, when: float) -> None:  # noqa: ARG002 (the service notes the time)
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def _remove_earlier(folder: Path, current: Path, identity: str) -> None:
    """Removes what earlier offline sessions of the same run left, all of which the current one holds too."""
    if folder.is_symlink():
        return
    for earlier in folder.glob(f"offline-run-*-{identity}*"):
        if earlier.resolve() != current.resolve():
            shutil.rmtree(earlier, ignore_errors=True)


class MLflow:
    """A run of the experiment; MLFLOW_TRACKING_URI says where (else a file in this folder)."""

    TAG = "compression_search.identity"

    def __init__(self, config: Config, identity: str) -> None:
        from mlflow import MlflowClient  # an extra, and slow to import
        from mlflow.entities import Metric, Param

        self._client: Any = MlflowClient()
        self._metric = Metric
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        known = self._client.search_runs([number], f"tags.`{self.TAG}` = '{identity}'")
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            steps = [point.step for point in self._client.get_metric_history(self._id, "bytes")]
            self.last_step = max(steps, default=0)
        else:
            tags = {self.TAG: identity}
            self._id = self._client.create_run(number, tags=tags, run_name=config.name).info.run_id
            self.last_step = 0
            params = [Param(name, str(value)[:500]) for name, value in asdict(config).items()]
            self._client.log_batch(self._id, params=params)

    def log(self, step: int, values: Values, when: float) -> None:
        at = int(1000 * when)
        self._client.log_batch(
            self._id, metrics=[self._metric(name.replace("/", "."), value, at, step) for name, value in values.items()]
        )

    def close(self) -> None:
        self._client.set_terminated(self._id)


KINDS: dict[str, Callable[[Config, str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def identity_of(folder: Path) -> str:
    """By which trackers know the run in a folder; drawn where there is none."""
    path = folder / IDENTITY
    if not path.exists():
        write_file(path, json.dumps({"id": secrets.token_hex(8)}) + "\n")
    content = read_json(path, "the run's identity in trackers")
    identity = content.get("id") if isinstance(content, dict) else None
    if not isinstance(identity, str) or not re.fullmatch("[0-9a-f]{16}", identity):
        raise UserError(f"{path} is damaged: remove it, and the run begins anew in its trackers")
    return identity


def parse(text: str) -> tuple[str, ...]:
    """Names of trackers from the command line."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    check_names(names)
    return names


def check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in KINDS:
            raise UserError(f"--log {name}: known are {', '.join(KINDS)}")


def check(names: Sequence[str]) -> None:
    """Refuses, before anything starts, an unknown tracker (a run's file may name one) and one that is not installed."""
    check_names(names)
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--log {name}: {PACKAGES[name]} is not installed; `pip install -c constraints.txt -e .[{name}]`"
            )


class Trackers:
    """The trackers of a run. Every candidate is a step, numbered by its order in the run's table."""

    def __init__(self, config: Config, recorder: Recorder, say: Callable[[str], None]) -> None:
        self._recorder, self._say = recorder, say
        self._kinds, self._config = config.log, config
        self._open: dict[str, Tracker] = {}
        self._best: dict[str, float] = {}  # bin → best COMET so far
        self._counts = dict.fromkeys(STATUS_WORDS, 0)

    def begin(self) -> None:
        """Opens them, and hands them the candidates that are in the table and not in them yet."""
        for name in self._kinds:
            self._guarded(name, lambda name=name: self._open_one(name))  # type: ignore[misc]
        for candidate in sorted(self._recorder.candidates, key=lambda c: c.order):
            self.add(candidate)

    def _open_one(self, name: str) -> None:
        self._open[name] = KINDS[name](self._config, identity_of(self._config.folder))

    def add(self, candidate: Candidate) -> None:
        values, when = self._values(candidate), self._recorder.started + candidate.seconds
        for name, tracker in list(self._open.items()):
            if candidate.order > tracker.last_step:
                self._guarded(name, lambda tracker=tracker: tracker.log(candidate.order, values, when))  # type: ignore[misc]

    def close(self) -> None:
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.close)

    def _values(self, candidate: Candidate) -> Values:
        self._counts[candidate.status] += 1
        if candidate.comparable:
            for each in self._recorder.bins:
                if each.holds(candidate.bytes):
                    self._best[each.name] = max(self._best.get(each.name, -math.inf), candidate.comet)
        values = {
            "comet": candidate.comet,
            "chrf": candidate.chrf,
            "kl": candidate.kl,
            "bytes": float(candidate.bytes),
            "bits_per_weight": candidate.bits_per_weight,
            "layers_dropped": float(candidate.layers_dropped),
            "pruned": float(candidate.status == PRUNED),
            **{f"best_comet/{name}": comet for name, comet in self._best.items()},
            **{f"candidates/{STATUS_WORDS[status]}": float(count) for status, count in self._counts.items()},
        }
        scored = candidate.comparable
        return {n: v for n, v in values.items() if math.isfinite(v) and (scored or n not in ("comet", "chrf"))}

    def _guarded(self, name: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # of a service, a network, a disk: the search is worth more
            self._open.pop(name, None)
            self._say(f"{name} is not logged to any more ({first_line(error)})")
