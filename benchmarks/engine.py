"""The engine under load: 64 logical workers whose evaluation only sleeps, 132 units, 3,000 candidates.

    python -m benchmarks.engine                      # 10 s an evaluation (about ten minutes), then 3, 1 and 0.3 s
    python -m benchmarks.engine --seconds 10 --trials 3000
    python -m benchmarks.engine --dry                # the driver's own work alone, without Ray; add --profile
    python -m benchmarks.engine --embedded           # 1 against 2 workers on the embedded model

Everything is the real search (sampler, space, ledger, trial manager, searcher, Tune, table, front, journal), except
that a worker's jobs sleep and answer with made-up scores for 468 segments, as many as ACL 60/60's dev split has. The
model is a Qwen2-Audio of 32 + 32 narrow layers: 132 units, as at full size.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import os
import pstats
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEGMENTS = 468
SHARES = {"kl": 0.1, "part": 0.25, "all": 1.0}  # of an evaluation's seconds, for each rung
LAYERS = 32  # in each of the two stacks
THREADS = 8  # logical workers in a process
ROOT = Path(__file__).resolve().parent.parent


# What a worker answers. No import of ours or of torch: 64 of these share two cores.


def bits(level: str) -> float:
    """Roughly what a level costs, in bits a weight."""
    known = {"raw:bf16": 16.0, "int8": 8.5, "nf4": 4.5, "digits:3": 5.0, "digits:2": 4.1}
    return known[level] if level in known else float(level.split("@")[1])


def injury(unit: str, level: str) -> float:
    """Damage of a level to a unit: a fourth for each bit more, times what this unit is like."""
    return math.exp(random.Random(unit).gauss(-4.5, 1.2)) * 4.0 ** (1.0 - bits(level))


def loss(layer: str) -> float:
    return math.exp(random.Random(layer).gauss(-2.5, 1.0))


def answer(job: dict[str, Any], rung: str = "all") -> dict[str, Any]:
    """A made-up outcome of the right shape and size. A KL is the damage with noise, a part every fourth segment."""
    policy = json.loads(job["policy"])
    damage = sum(injury(unit, level) for unit, level in policy["levels"].items())
    damage += sum(loss(layer) for layer in policy.get("dropped", ()))
    share, noise = math.exp(-damage), random.Random(job["policy"])
    scores = [min(1.0, max(0.0, 0.8 * share + noise.gauss(0, 0.1))) for _ in range(SEGMENTS)]
    known = {"rung": rung, "kl": 0.5 * damage * math.exp(noise.gauss(0, 0.3)), "translate_seconds": 1.0, "swapped": 10}
    if rung == "kl":
        return known
    chosen = range(0, SEGMENTS, 4) if rung == "part" else range(SEGMENTS)
    text = "the same nineteen words or so that a translation of a sentence from a talk has in all the languages"
    return known | {
        "comet_segments": [scores[index] for index in chosen],
        "chrf": 60 * share,
        "bleu": 30 * share,
        "hypotheses": [f"{number} {text}" for number in chosen],
    }


class Sleepers:
    """Stands in for several cluster.pool.WorkerActor in one process, a thread each."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began: dict[str, float] = {}

    def ready(self) -> int:
        return 0

    def report(self, job: str, number: int) -> tuple[str, bool]:
        began, request = time.time(), json.loads(job)
        first = began if number == 0 else self.began.pop(request["name"], began)
        outcome = answer(request, request["rungs"][number])
        time.sleep(max(0.0, self.seconds * SHARES[request["rungs"][number]] - (time.time() - began)))
        ended = number + 1 == len(request["rungs"])
        if not ended:
            self.began[request["name"]] = first
        return json.dumps(outcome | {"job_seconds": time.time() - first, "began": first, "worker": 0}), ended


class IdlePool:
    """Stands in for cluster.pool.WorkerPool where there is no Ray."""

    def __init__(self, workers: int) -> None:
        self.actors: list[Any] = list(range(workers))
        self.free = list(self.actors)

    def borrow(self, kind: str) -> int | None:  # noqa: ARG002
        return self.free.pop() if self.free else None

    def give_back(self, number: int, died: bool = False) -> None:  # noqa: ARG002
        self.free.append(number)


# The real search round it.


def make_world(folder: Path, levels: tuple[str, ...]) -> tuple[Any, Any]:
    """A narrow model of 132 units and a store with every variant of it."""
    import compress
    from tests.compress.tiny import save_tiny

    (folder / "model").mkdir(parents=True)
    source = compress.Source.open(save_tiny(folder / "model", audio_layers=LAYERS, lm_layers=LAYERS))
    store = compress.Store(folder / "store")
    for unit in source.structure.units:
        for level in levels:
            try:
                compress.build(source, unit, level, store)
            except compress.errors.UserError as error:
                raise SystemExit(f"error: {unit} at {level}: {error}") from None
    return source, store


def make_search(source: Any, store: Any, runs: Path, name: str, trials: int, pool: Any, rungs: str) -> Any:
    """The searcher of a run whose preparation is done, with made-up sensitivities."""
    import compress
    from search.config import Config
    from search.phases import SEARCH, Phases
    from search.progress import Progress
    from search.recorder import Recorder, parameters_left
    from search.run_dir import RunDir
    from search.sampling.bayesian import BayesianSampler
    from search.sampling.quality_model import QualityModel
    from search.sampling.sensitivity import actions_to_measure, sensitivity_table
    from search.space.build_space import space_of_model
    from search.space.constraint import SizeConstraint
    from search.space.space import DEFAULT_LEVELS
    from search.status import RunStatus
    from search.tuning.searcher import ParetoSearch
    from search.tuning.trials import TrialManager
    from search.workload import Workload

    config = Config(
        bins=("Bin1", "Bin2", "Bin3"),
        lang="en-zh",
        trials=trials,
        rungs=tuple(rungs.split(",")),
        baselines=False,
        calibration=False,
        runs=str(runs),
        name=name,
    )
    bins = config.bins_in_bytes(source.original_bytes)
    recorder = Recorder(RunDir(config, False), source.original_bytes, bins)
    ledger = compress.Ledger(source, store, DEFAULT_LEVELS)
    errors = {(unit, level): injury(unit, level) for unit in source.structure.units for level in DEFAULT_LEVELS}
    space = space_of_model(source, ledger, errors, DEFAULT_LEVELS, {}, ("full",), True, "")
    weights = {name: unit.weights for name, unit in source.structure.units.items()}
    measured = [
        [kind, name, level, loss(name) if kind == "drop" else injury(name, level)]
        for kind, name, level in actions_to_measure(space, weights)
    ]
    constraint = SizeConstraint(space, ledger.predict)
    model = QualityModel(space, sensitivity_table(space, errors, measured))
    bayesian = BayesianSampler(constraint, bins, model, 0, 0.8)
    manager = TrialManager(
        config,
        recorder,
        constraint,
        bayesian,
        lambda policy: parameters_left(source, policy, store),
        "",
        SEGMENTS,
    )
    workload = Workload.of(config, source.structure, ())
    status = RunStatus(name, trials, recorder, pool, Progress(), Phases(workload, calibration=False, share=1.0))
    status.begin(SEARCH)
    return ParetoSearch(manager, pool, bayesian, manager.distributions, None, status)


@dataclass
class Probe:
    """Watches a searcher from outside: when candidates come back, what the driver spends, what it holds."""

    every: int
    profile_from: int = -1  # profile from this candidate on
    profile: cProfile.Profile = field(default_factory=cProfile.Profile)
    asks: list[float] = field(default_factory=list)  # milliseconds of CPU: others use the machine too
    tells: list[float] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)  # (began, ended) of each evaluation
    processes: set[int] = field(default_factory=set)  # that Tune's trials ran in
    marks: list[tuple[int, float, float, float]] = field(default_factory=list)  # count, CPU s, wall s, MB

    def watch(self, searcher: Any) -> None:
        suggest, complete = searcher.suggest, searcher.on_trial_complete

        def timed_suggest(trial_id: str) -> Any:
            began = time.process_time()
            found = suggest(trial_id)
            if isinstance(found, dict):
                self.asks.append((time.process_time() - began) * 1e3)
            return found

        def timed_complete(trial_id: str, result: Any = None, error: bool = False) -> None:
            self.processes.add((result or {}).get("pid", 0))
            began = time.process_time()
            complete(trial_id, result, error)
            self.tells.append((time.process_time() - began) * 1e3)
            outcome = json.loads((result or {}).get("outcome", "{}"))
            if "began" in outcome:
                self.spans.append((outcome["began"], outcome["began"] + outcome["job_seconds"]))
            if len(self.tells) % self.every == 0:
                self.mark()
            if len(self.tells) == self.profile_from:
                self.profile.enable()

        searcher.suggest, searcher.on_trial_complete = timed_suggest, timed_complete

    def mark(self) -> None:
        import psutil

        used = psutil.Process().memory_info().rss / 1e6
        self.marks.append((len(self.tells), time.process_time(), time.perf_counter(), used))

    def in_use(self, workers: int) -> float:
        """Share of the workers' time spent evaluating, from when all were first busy (or, where they never were,
        from the start) to when the last one began.
        """
        end, running, start = max(began for began, _ in self.spans), 0, min(began for began, _ in self.spans)
        for moment, change in sorted([(b, 1) for b, _ in self.spans] + [(e, -1) for _, e in self.spans]):
            running += change
            if running == workers:
                start = moment
                break
        busy = sum(max(0.0, min(e, end) - max(b, start)) for b, e in self.spans)
        return busy / (workers * (end - start)) if end > start else 0.0

    def around(self, values: list[float], count: int, span: int = 50) -> float:
        """Mean near the count-th candidate."""
        part = values[max(0, count - span) : count + span]
        return sum(part) / len(part) if part else float("nan")

    def cpu(self, count: int) -> float:
        """Driver CPU milliseconds a candidate in the stretch that ends at `count`."""
        places = [index for index, mark in enumerate(self.marks) if mark[0] <= count]
        if not places or places[-1] == 0:
            return float("nan")
        before, after = self.marks[places[-1] - 1], self.marks[places[-1]]
        return (after[1] - before[1]) / (after[0] - before[0]) * 1e3


def dry(searcher: Any, trials: int, every: int, profiled: int = 0) -> Probe:
    """The driver's work without Ray: as many candidates as workers are always out. The last `profiled` are profiled."""
    from ray.tune.search import Searcher
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")  # as search.tuning
    probe = Probe(every, trials - profiled if profiled else -1)
    probe.watch(searcher)
    out: list[tuple[str, dict[str, Any]]] = []
    number = 0
    while True:
        while isinstance(config := searcher.suggest(f"t{number}"), dict):
            out.append((f"t{number}", json.loads(config["job"])))
            number += 1
        if config == Searcher.FINISHED:
            assert searcher.error is None, searcher.error
            assert len(probe.tells) >= trials
            return probe
        trial, job = out.pop(0)
        for rung in job["rungs"]:
            outcome = answer(job, rung) | {"job_seconds": 1.0}
            if rung != "all" and not searcher.should_continue(trial, outcome):
                break
        searcher.on_trial_complete(trial, {"outcome": json.dumps(outcome)})


def start_ray(workers: int, seconds: float) -> Any:
    """A pool of logical workers, eight to a process."""
    import logging

    import ray

    from cluster.pool import WorkerPool
    from cluster.session import QUIET

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    actor = ray.remote(Sleepers).options(num_cpus=0, max_concurrency=THREADS)
    actors = [actor.remote(seconds) for _ in range(-(-workers // THREADS))]
    return WorkerPool([actors[number // THREADS] for number in range(workers)])


def under_ray(searcher: Any, every: int, profile_from: int = -1) -> Probe:
    """The whole of it under Tune."""
    import ray

    from search.tuning.tuner import run_search

    probe = Probe(every, profile_from)
    probe.watch(searcher)
    try:
        assert run_search(searcher, sys.stderr)
        return probe
    finally:
        ray.shutdown()


def table(rows: list[list[str]], head: list[str]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def along_the_way(probe: Probe, trials: int) -> str:
    """Milliseconds and memory along the way."""
    rows = []
    for count, _, _, used in probe.marks:
        if count in {100, 300, 500, 1000, 1500, 2000, 2500, 3000, trials}:
            rows.append(
                [
                    f"{count}",
                    f"{probe.around(probe.asks, count):.1f}",
                    f"{probe.around(probe.tells, count):.1f}",
                    f"{probe.cpu(count):.1f}",
                    f"{used:.0f}",
                ]
            )
    return table(rows, ["candidate", "ask, ms", "tell, ms", "driver CPU, ms a candidate", "driver memory, MB"])


def show(profile: cProfile.Profile) -> None:
    profile.disable()
    for order in ("cumulative", "tottime"):
        pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats(order).print_stats(60)


def embedded_workers(trials: int) -> str:
    """1 against 2 workers, the default embedded search, everything else the same."""
    rows = []
    for workers in (1, 2):
        runs = Path(tempfile.mkdtemp(prefix="engine-"))
        command = [sys.executable, "-m", "search.run", "--bin", "Bin2", "--lang", "en-zh", "--runs", str(runs)]
        command += ["--name", "w", "--trials", str(trials), "--workers", str(workers), "--no-baselines"]
        began = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.monotonic() - began
        from results.rows.storage import Table

        found = sorted(c.seconds for c in Table(runs / "w" / "candidates.parquet").read() if c.recipe == "search")
        shutil.rmtree(runs, ignore_errors=True)
        pace = 60 * (len(found) - 1) / (found[-1] - found[0])
        rows.append([str(workers), f"{whole:.0f}", f"{pace:.1f}"])
    return table(rows, ["workers", "whole run, s", "candidates a minute while searching"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="*", default=[10.0, 3.0, 1.0, 0.3], help="of an evaluation")
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--shorter", type=int, default=600, help="candidates of every run but the first")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rungs", default="all", help="of the search: all (default), kl,all or kl,part,all")
    parser.add_argument("--dry", action="store_true", help="without Ray")
    parser.add_argument("--profile", action="store_true", help="where the driver's time of the last 200 goes")
    parser.add_argument("--embedded", action="store_true", help="1 against 2 workers on the embedded model")
    parser.add_argument("--world", type=Path, help="folder to keep the made-up model and its store in")
    options = parser.parse_args()
    if options.embedded:
        print(embedded_workers(min(options.trials, 48)))
        return
    from search.space.space import DEFAULT_LEVELS

    scratch = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        world = options.world or scratch / "world"
        if (world / "ready").exists():
            import compress

            source, store = compress.Source.open(world / "model"), compress.Store(world / "store")
        else:
            source, store = make_world(world, DEFAULT_LEVELS)
            (world / "ready").touch()
        print(f"{len(source.structure.units)} units, {len(source.structure.layers)} layers", flush=True)
        if options.dry:
            search = make_search(
                source, store, scratch / "runs", "dry", options.trials, IdlePool(options.workers), options.rungs
            )
            probe = dry(search, options.trials, 100, 200 if options.profile else 0)
            if options.profile:
                show(probe.profile)
            print(along_the_way(probe, options.trials))
            return
        rows = []
        for index, seconds in enumerate(options.seconds):
            trials = options.trials if index == 0 else min(options.trials, options.shorter)
            pool = start_ray(options.workers, seconds)
            search = make_search(source, store, scratch / "runs", f"s{seconds:g}", trials, pool, options.rungs)
            probe = under_ray(search, 100, trials - 200 if options.profile else -1)
            if options.profile:
                show(probe.profile)
            cpu = [probe.cpu(count) for count, *_ in probe.marks[1:]]
            rows.append(
                [
                    f"{seconds:g}",
                    str(trials),
                    f"{100 * probe.in_use(options.workers):.1f} %",
                    f"{sum(cpu) / len(cpu):.1f}" if cpu else "-",
                    str(len(probe.processes)),
                ]
            )
            print(f"\n{seconds:g} s an evaluation\n\n{along_the_way(probe, trials)}", flush=True)
        head = [
            "evaluation, s",
            "candidates",
            f"time of {options.workers} workers in use",
            "driver CPU, ms a candidate",
            "processes of Tune's",
        ]
        print(f"\n{table(rows, head)}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
