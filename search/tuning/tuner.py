"""Runs a search under Ray Tune: light trials over the pool of workers, actors reused, nothing checkpointed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from typing import Any, TextIO

from ray import tune
from threadpoolctl import threadpool_limits

from cluster import leftovers
from cluster.trainable import TRIAL_CPUS, CandidateTrial
from search.tuning.scheduler import RungScheduler
from search.tuning.searcher import ParetoSearch


class EveryStep(tune.Callback):
    """Ends workers that no longer answer, for whom their trials would wait for ever, and renews what a person sees."""

    def __init__(self, searcher: ParetoSearch) -> None:
        self.searcher = searcher

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002 - Tune's names
        self.searcher.pool.end_stuck()
        self.searcher.status.update()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks to be able to restore them; this one has nothing to restore."""
        return {}


def run_search(searcher: ParetoSearch, stream: TextIO) -> bool:
    """Until every candidate has come to its end, or the user interrupts; True if it came to its end."""
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    workers = searcher.pool.actors
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(workers))  # trials that may start at the same time
    trainable = tune.with_parameters(CandidateTrial, workers=workers)
    scratch = str(leftovers.make_scratch())
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=RungScheduler(searcher), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=scratch,
            name="tune",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[EveryStep(searcher)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    interrupted = False
    try:
        # The quality model's matrices take one thread: several only wait for each other.
        with contextlib.redirect_stdout(stream), threadpool_limits(1, "blas"):
            tuner.fit()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        searcher.manager.journal.flush()
    if searcher.error is not None:
        raise searcher.error
    # Tune takes Ctrl-C for itself, and leaves trials under way.
    return not interrupted and not searcher.running and searcher.manager.remaining <= 0
