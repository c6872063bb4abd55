"""Runs an engine's jobs under Ray Tune: class trainables, actors reused, nothing checkpointed."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from typing import Any

from cluster.jobs import Context
from compress.errors import Refusal
from search.engine import Engine


def keeper(workers: int) -> Any:
    """A first-in-first-out scheduler that lets Tune keep every idle actor.

    Tune keeps a finished trial's actor only if another trial already waits for it, and one actor besides; with as
    many trials as workers nothing waits, so all but one worker would be started anew for each job (seen live:
    ray 2.60, half of the workers always importing torch). There is no public setting for the size of that cache.
    """
    from ray.tune.schedulers import FIFOScheduler

    class Keeper(FIFOScheduler):
        raised = False

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            cache = getattr(tune_controller, "_actor_cache", None)
            if cache is not None and not self.raised:
                cache.increase_max(trial.placement_group_factory, by=workers)
                self.raised = True

    return Keeper()


def run_tune(engine: Engine, context: Context, gpus_per_worker: float) -> bool:
    """Until every phase is done or the user interrupts; True if it came to its end."""
    from ray import tune

    from cluster.trainable import JobTrainable

    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)
    resources: dict[str, Any] = {"cpu": max(context.threads, 1), "gpu": gpus_per_worker}
    trainable = tune.with_resources(tune.with_parameters(JobTrainable, context=context), resources)
    scratch = tempfile.mkdtemp(prefix="compression-search-")
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=engine.searcher,
            scheduler=keeper(engine.workers),
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
