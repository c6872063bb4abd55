"""Runs an engine's jobs under Ray Tune: class trainables, actors reused, nothing checkpointed."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from threadpoolctl import threadpool_limits

from cluster.jobs import Context
from compress.errors import UserError
from search.engine import Engine


class Rungs(FIFOScheduler):
    """The scheduler: first in, first out; after each rung `should_continue` decides; and every idle actor is kept.

    Tune's own schedulers stop trials too, but refuse several objectives, and know nothing of a front.

    Two more traps of ray 2.60, seen live, without a public setting. Tune keeps a finished trial's actor only if another
    trial already waits for it, and one actor besides; with as many trials as workers nothing waits, so all but one
    worker would be started anew for each job. And it keeps every trial ever made, with its job and its outcome (60 kB
    at 468 segments), and walks through all of them for each next one: finished ones are emptied here, and only living
    ones are looked at (8-11 ms a trial before, 4 after, and the driver's memory flat).
    """

    def __init__(self, workers: int, should_continue: Callable[[str, dict[str, Any]], bool]) -> None:
        super().__init__()
        self._workers, self._goes_on = workers, should_continue
        self._raised = False
        self._ended: list[Trial] = []

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in self._ended:
            forget(trial)
        self._ended.clear()
        return next((t for t in tune_controller.get_live_trials() if t.status == Trial.PENDING), None)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        self._ended.append(trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        self._ended.append(trial)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is not None and not self._raised:
            cache.increase_max(trial.placement_group_factory, by=self._workers)
            self._raised = True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        if result.get("done"):
            return str(FIFOScheduler.CONTINUE)
        outcome = json.loads(result.get("outcome", "{}"))
        if "error" in outcome or self._goes_on(trial.trial_id, outcome):
            return str(FIFOScheduler.CONTINUE)
        return str(FIFOScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler too; what it decides with lives in the driver only."""
        return {}


def forget(trial: Trial) -> None:
    """Lets go of a finished trial's job and outcome: the searcher has had both. Tune keeps the job three times: as the
    trial's config, as that before placeholders in it are resolved, and, spelled out, in its tag."""
    vars(trial).get("_Trial__unresolved_config", {}).clear()
    trial.config, trial.evaluated_params, trial.experiment_tag = {}, {}, ""
    told = trial.run_metadata
    told.last_result, told.metric_analysis, told.metric_n_steps = {}, {}, {}


def spare_starting_actors() -> None:
    """Tune may not give a trial another's idle actor while the trial's own is being created.

    It does (ray 2.60), and kills the one in creation: where starting a worker takes longer than a job, all but one
    worker never come up (seen live: --workers 2, nine minutes, one worker alive, seven killed at an age of 10 ms).
    """
    from ray.tune.execution.tune_controller import TuneController

    reuse = getattr(TuneController, "_maybe_reuse_cached_actor", None)
    if reuse is None or hasattr(reuse, "spares"):
        return

    def sparing(self: Any, trial: Trial) -> bool:
        own = self._trial_to_actor.get(trial)
        # One that only waits for room may be replaced: after a machine's death there is less room than trials.
        starting = own is not None and self._actor_manager.is_actor_started(own) and trial not in self._resetting_trials
        return False if starting else bool(reuse(self, trial))

    sparing.spares = True  # type: ignore[attr-defined]
    TuneController._maybe_reuse_cached_actor = sparing


def run_tune(engine: Engine, context: Context, gpus_per_worker: float) -> bool:
    """Until every phase is done or the user interrupts; True if it came to its end."""
    from ray import tune

    from cluster.trainable import JobTrainable

    spare_starting_actors()
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    resources: dict[str, Any] = {"cpu": max(context.threads, 1), "gpu": gpus_per_worker}
    trainable = tune.with_resources(tune.with_parameters(JobTrainable, context=context), resources)
    scratch = tempfile.mkdtemp(prefix="compression-search-")
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=engine.searcher,
            scheduler=Rungs(engine.workers, engine.should_continue),
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
        # The quality model's matrices take one thread: several only wait for each other.
        with contextlib.redirect_stdout(engine.progress.stream), threadpool_limits(1, "blas"):
            tuner.fit()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if engine.refusal is not None:
        raise engine.refusal
    if engine.searcher.broken is not None:
        raise engine.searcher.broken
    finished = not engine.searcher.phases and engine.searcher.trials <= 0 and not engine.searcher.running
    interrupted = interrupted or engine.searcher.running > 0  # Tune takes Ctrl-C for itself, and leaves jobs under way
    if not finished and not interrupted and not engine.recorder.candidates:
        raise UserError("the workers died before anything was scored: see Ray's dashboard for their logs")
    return finished
