"""A candidate as a Ray Tune trial: a light proxy that asks a worker of the pool for one rung after another.

The model stays in the workers whatever Tune does with its trials. Imports nothing heavy: there is a process of it for
each worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError

TRIAL_CPUS = 0.01  # what a trial reserves; a worker leaves that much of its own, or no trial would ever start


class CandidateTrial(tune.Trainable):
    """One step a rung. `config` holds the worker's number and the job.

    Job and outcome travel as JSON text: Tune flattens, copies and keeps every nested value it is given.
    """

    def setup(self, config: dict[str, Any], workers: Sequence[Any] = ()) -> None:
        self._workers = workers
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job, self._worker, self._rung = new_config["job"], self._workers[new_config["worker"]], 0
        return True

    def step(self) -> dict[str, Any]:
        try:
            outcome, ended = ray.get(self._worker.report.remote(self._job, self._rung))
        except RayActorError:
            outcome, ended = json.dumps({"died": True}), True
        self._rung += 1
        return {"outcome": outcome, "done": ended}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a candidate is short, and the run's table is what is resumed from."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, see above."""
