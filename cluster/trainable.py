"""The worker as a Ray Tune class trainable: one job a trial, the actor and its model reused from trial to trial."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from cluster.jobs import Context
from compress.errors import Refusal


class JobTrainable(tune.Trainable):
    """`config["job"]` is done in one step. A job that fails is told as a result, so that the actor lives on.

    Job and outcome travel as JSON text: Tune flattens, copies and keeps every nested value it is given.
    """

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        # Heavy libraries are imported here, in the worker's process, so that the driver stays thin.
        import ray

        from cluster.worker import Worker

        assert context is not None
        self._job = json.loads(config["job"])
        index = abs(hash(self.trial_id)) % len(context.scorers)
        scorer = ray.get_actor(context.scorers[index])

        def score(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
            found: list[float] = ray.get(scorer.score.remote(list(sources), list(hypotheses), list(references)))
            return found

        self._worker = Worker(context, score)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = json.loads(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        started = time.time()
        try:
            result = self._worker.run(self._job)
        except Refusal as refusal:  # already one clear line
            result = {"error": str(refusal)}
        except Exception as error:  # told to the driver, which records the candidate as failed
            result = {"error": f"{type(error).__name__}: {error}"}
        result["job_seconds"] = time.time() - started
        return {"outcome": json.dumps(result), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a job is short, and the run's table is what is resumed from."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, see above."""
