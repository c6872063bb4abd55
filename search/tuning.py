"""Runs an engine's jobs under Ray Tune: class trainables, actors reused, nothing checkpointed."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler

from cluster.jobs import Context
from compress.errors import Refusal
from search.engine import Engine


class Rungs(FIFOScheduler):
    """The scheduler: first in, first out; after each rung `goes_on` decides; and every idle actor is kept.

    Tune's own schedulers stop trials too, but refuse several objectives, and know nothing of a front.

    Tune keeps a finished trial's actor only if another trial already waits for it, and one actor besides; with as
    many trials as workers nothing waits, so all but one worker would be started anew for each job (seen live:
    ray 2.60, half of the workers always importing torch). There is no public setting for the size of that cache.
    """

    def __init__(self, workers: int, goes_on: Callable[[str, dict[str, Any]], bool]) -> None:
        super().__init__()
        self._workers, self._goes_on = workers, goes_on
        self._raised = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is not None and not self._raised:
            cache.increase_max(trial.placement_group_factory, by=self._workers)
            self._raised = True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        outcome = json.loads(result.get("outcome", "{}"))
        if result.get("done") or "error" in outcome or self._goes_on(trial.trial_id, outcome):
            return str(FIFOScheduler.CONTINUE)
        return str(FIFOScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler too; what it decides with lives in the driver only."""
        return {}


def run_tune(engine: Engine, context: Context, gpus_per_worker: float) -> bool:
    """Until every phase is done or the user interrupts; True if it came to its end."""
    from ray import tune

    from cluster.trainable import JobTrainable

    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    resources: dict[str, Any] = {"cpu": max(context.threads, 1), "gpu": gpus_per_worker}
    trainable = tune.with_resources(tune.with_parameters(JobTrainable, context=context), resources)
    scratch = tempfile.mkdtemp(prefix="compression-search-")
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=engine.searcher,
            scheduler=Rungs(engine.workers, engine.goes_on),
            num_samples=-1,
            max_concurrent_trials=engine.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=scratch,
            name="tune",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    interrupted = False
    try:
        with contextlib.redirect_stdout(engine.progress.stream):
            tuner.fit()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if engine.refusal is not None:
        raise engine.refusal
    finished = not engine.searcher.phases and engine.searcher.trials <= 0 and not engine.searcher.running
    if not finished and not interrupted and not engine.recorder.candidates:
        raise Refusal("the workers died before anything was scored: see Ray's dashboard for their logs")
    return finished
