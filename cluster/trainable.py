"""The worker as a Ray Tune class trainable: one job a trial, the actor and its model reused from trial to trial."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ray import tune

from cluster.jobs import Context
from compress.errors import UserError


class JobTrainable(tune.Trainable):
    """`config["job"]` is done in as many steps as it has rungs. A job that fails is told as a result, so that the
    actor lives on.

    Job and outcome travel as JSON text: Tune flattens, copies and keeps every nested value it is given.
    """

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        # Heavy libraries are imported here, in the worker's process, so that the driver stays thin.
        import ray

        from cluster.worker import Worker

        assert context is not None
        index = abs(hash(self.trial_id)) % len(context.scorers)
        scorer = ray.get_actor(context.scorers[index])
        hits: list[int] = [0]

        def score(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
            found: list[float]
            found, hits[0] = ray.get(scorer.score.remote(list(sources), list(hypotheses), list(references)))
            return found

        self._hits = hits
        self._name, self._scorer = ray.get_runtime_context().get_actor_id(), index
        self._worker = Worker(context, score)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = json.loads(new_config["job"])
        self._steps: Iterator[dict[str, Any]] = self._worker.run(self._job)
        self._left = len(self._job.get("rungs", "1"))
        self._seconds = 0.0
        self._outcome: dict[str, Any] = {}
        return True

    def step(self) -> dict[str, Any]:
        started = time.time()
        self._left -= 1
        try:
            self._outcome = next(self._steps)
        except UserError as refusal:  # already one clear line
            self._outcome = {**self._outcome, "error": str(refusal)}
        except Exception as error:  # told to the driver, which tries the candidate once more
            self._outcome = {**self._outcome, "error": f"{type(error).__name__}: {error}", "crashed": True}
            self._worker.forget()
        self._seconds += time.time() - started
        told = {
            **self._outcome,
            "job_seconds": self._seconds,
            "worker": self._name,
            "scorer": self._scorer,
            "comet_hits": self._hits[0],
        }
        return {"outcome": json.dumps(told), "done": self._left == 0 or "error" in told}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a job is short, and the run's table is what is resumed from."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, see above."""
