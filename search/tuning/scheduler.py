"""Tune's scheduler for rungs: after each report of a candidate the trial manager says whether it goes on.

Tune's own schedulers stop trials too, but refuse several objectives and know nothing of a front.
"""

from __future__ import annotations

import json
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from search.tuning.searcher import ParetoSearch


class RungScheduler(FIFOScheduler):
    """First in, first out; a candidate is pruned as soon as it has no chance left.

    Tune keeps every trial it ever had, with its job and its outcome (60 kB at 468 segments), and walks through all of
    them for each next one: finished ones are emptied here, and only living ones are looked at.
    """

    def __init__(self, searcher: ParetoSearch) -> None:
        super().__init__()
        self._searcher = searcher
        self._ended: list[Trial] = []

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        if result.get("done"):
            return str(FIFOScheduler.CONTINUE)
        with self._searcher.measured():
            if self._searcher.should_continue(trial.trial_id, json.loads(result["outcome"])):
                return str(FIFOScheduler.CONTINUE)
        return str(FIFOScheduler.STOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in self._ended:
            forget(trial)
        self._ended.clear()
        return next((trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING), None)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        self._ended.append(trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        self._ended.append(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler too; what it decides with lives in the driver only."""
        return {}


def forget(trial: Trial) -> None:
    """Lets go of a finished trial's outcome and of what Tune spelled out of its job: the searcher has had both."""
    trial.config, trial.evaluated_params, trial.experiment_tag = {}, {}, ""
    metadata = trial.run_metadata
    metadata.last_result, metadata.metric_analysis, metadata.metric_n_steps = {}, {}, {}
