"""A search without Ray on a made-up model: trial manager, searcher, and workers that answer at once."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.pool import Activity
from compress.sizes import Bin
from search.config import Config
from search.phases import Phases
from search.progress import Progress
from search.recorder import Recorder
from search.run_dir import RunDir
from search.sampling.bayesian import BayesianSampler
from search.sampling.quality_model import QualityModel
from search.sampling.registry import BAYESIAN, make_sampler
from search.status import RunStatus
from search.tuning.searcher import ParetoSearch, study_of
from search.tuning.trials import TrialManager
from search.workload import Workload
from tests.search.worlds import World, world

SEGMENTS = 8


class Pool:
    """As `cluster.pool.WorkerPool`, for the searcher."""

    def __init__(self, workers: int = 1) -> None:
        self.actors = list(range(workers))
        self.free = deque(self.actors)
        self.died: list[int] = []
        self.doing: dict[int, str] = {}

    alive = property(lambda self: len(self.actors))

    def waiting(self) -> str:
        return ""

    def activities(self) -> list[Activity]:
        return [Activity(n, "idle" if n in self.free else "score", self.doing.get(n, ""), 1.0) for n in self.actors]

    def describe(self, number: int, doing: str) -> None:
        self.doing[number] = doing

    def borrow(self, _kind: str) -> int | None:
        return self.free.popleft() if self.free else None

    def give_back(self, number: int, died: bool = False) -> None:
        if died:
            self.died.append(number)
        self.free.append(number)


def manager(tmp_path: Path, made: World | None = None, resume: bool = False, **settings: Any) -> TrialManager:
    made = made or world()
    constraint = made.constraint
    low, high = (constraint.size(choice) for choice in (constraint.smallest(), constraint.largest()))
    bins = (Bin("Bin2", low + (high - low) // 8, low + (high - low) // 3),)
    config = Config(bins=("Bin2",), lang="en-zh", runs=str(tmp_path), name="t", **{"trials": 6, **settings})
    recorder = Recorder(RunDir(config, resume), high, bins)
    bayesian = BayesianSampler(constraint, bins, QualityModel(made.space, made.sensitivities), config.seed, 0.8)
    return TrialManager(config, recorder, constraint, bayesian, lambda policy: len(policy.levels), "key", SEGMENTS)


def searcher(trials: TrialManager, workers: int = 1, first: Sequence[dict[str, str]] = ()) -> ParetoSearch:
    name, bins = trials.config.sampler, trials.bins
    ours = name == BAYESIAN
    sampler = trials.bayesian if ours else make_sampler(name, trials.constraint, bins, trials.config.seed)
    storage = None if ours else study_of(trials.earlier(), trials.distributions)
    pool = Pool(workers)
    config = trials.config
    workload = Workload(
        units=4, layers=2, encodings=8, sensitivities=8, recipes=3, drops=0, pruning=2, trials=config.trials, full=2
    )
    phases = Phases(workload, calibration=True, share=0.5)
    status = RunStatus("t", config.trials, trials.recorder, pool, Progress(io.StringIO()), phases)
    return ParetoSearch(trials, pool, sampler, trials.distributions, storage, status, first)  # type: ignore[arg-type]


def ask(search: ParetoSearch, trial: str) -> Any:
    config = search.suggest(trial)
    return json.loads(config["job"]) if isinstance(config, dict) else config


def finish(search: ParetoSearch, trial: str, **outcome: Any) -> None:
    search.on_trial_complete(trial, {"outcome": json.dumps(outcome)})


def scored(comet: float = 0.5) -> dict[str, Any]:
    return {"comet_segments": [comet] * SEGMENTS, "rung": "all", "kl": 0.1, "hypotheses": ["x"] * SEGMENTS}
