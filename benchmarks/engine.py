"""The engine under load: 64 logical workers whose evaluation only sleeps, 132 units, 3,000 candidates.

    python -m benchmarks.engine                      # 10 s an evaluation (about ten minutes), then 3, 1 and 0.3 s
    python -m benchmarks.engine --seconds 10 --trials 3000
    python -m benchmarks.engine --dry                # the driver's own work alone, without Ray; add --profile
    python -m benchmarks.engine --embedded           # 1 against 2 workers on the embedded model

Everything is the real search (engine, sampler, space, ledger, searcher, Tune settings, table, front, journal), except
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
from types import SimpleNamespace
from typing import Any

SEGMENTS = 468
SHARES = {"kl": 0.1, "part": 0.25, "all": 1.0}  # of an evaluation's seconds, for each rung
LAYERS = 32  # in each of the two stacks
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
    kind = job["kind"]
    if kind == "build":
        return {"built": [[unit, level, injury(unit, level)] for unit, level in job["actions"]], "unsupported": []}
    if kind == "calibrate":
        return {"calibration": ""}
    if kind == "sense":
        return {
            "sensed": [
                [kind, name, level, loss(name) if kind == "drop" else injury(name, level)]
                for kind, name, level in job["actions"]
            ]
        }
    policy = json.loads(job["policy"]) if job.get("policy") else {"levels": {}}
    damage = sum(injury(unit, level) for unit, level in policy["levels"].items())
    damage += sum(loss(layer) for layer in policy.get("dropped", ()))
    share, noise = math.exp(-damage), random.Random(job.get("policy"))
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


def sleeper(seconds: float) -> Any:
    """A trainable that stands in for cluster.trainable.JobTrainable."""
    from ray import tune

    class Sleeper(tune.Trainable):
        def setup(self, config: dict[str, Any], context: Any = None) -> None:  # noqa: ARG002
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job, self._done, self._began = json.loads(new_config["job"]), 0, time.time()
            return True

        def step(self) -> dict[str, Any]:
            began = time.time()
            rungs = self._job.get("rungs", ["all"])
            result = answer(self._job, rungs[self._done])
            if self._job["kind"] == "score":
                time.sleep(max(0.0, seconds * SHARES[rungs[self._done]] - (time.time() - began)))
            self._done += 1
            result |= {"job_seconds": time.time() - self._began, "began": self._began, "worker": str(os.getpid())}
            return {"outcome": json.dumps(result), "done": self._done == len(rungs)}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    return Sleeper


# The real engine round it.


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
            except compress.errors.UserError as refusal:
                raise SystemExit(f"error: {unit} at {level}: {refusal}") from None
    return source, store


def make_engine(source: Any, store: Any, runs: Path, name: str, trials: int, workers: int, rungs: str) -> Any:
    from compress.sizes import parse_bins
    from search.config import Config
    from search.engine import Engine
    from search.progress import Progress
    from search.run_dir import RunDir

    config = Config(
        bins=("Bin1", "Bin2", "Bin3"),
        lang="en-zh",
        trials=trials,
        workers=workers,
        rungs=tuple(rungs.split(",")),
        baselines=False,
        calibration=False,
        runs=str(runs),
        name=name,
    )
    bins = parse_bins(config.bins, source.original_bytes)
    return Engine(config, RunDir(config, False), source, store, bins, {}, workers, Progress())


@dataclass
class Probe:
    """Watches a searcher from outside: when candidates come back, what the driver spends, what it holds."""

    every: int
    profile_from: int = -1  # profile from this candidate on
    profile: cProfile.Profile = field(default_factory=cProfile.Profile)
    asks: list[float] = field(default_factory=list)  # milliseconds of CPU: others use the machine too
    tells: list[float] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)  # (began, ended) of each evaluation
    marks: list[tuple[int, float, float, float]] = field(default_factory=list)  # count, CPU s, wall s, MB

    def watch(self, searcher: Any) -> None:
        suggest, complete = searcher.suggest, searcher.on_trial_complete

        def timed_suggest(trial_id: str) -> Any:
            began = time.process_time()
            found = suggest(trial_id)
            if isinstance(found, dict) and not searcher.phases:
                self.asks.append((time.process_time() - began) * 1e3)
            return found

        def timed_complete(trial_id: str, result: Any = None, error: bool = False) -> None:
            searching = not searcher.phases
            began = time.process_time()
            complete(trial_id, result, error)
            if searching:
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
        """Share of the workers' time spent evaluating, from when all of them were busy to when asking ended."""
        began = sorted(b for b, _ in self.spans)
        start, end = began[min(workers, len(began)) - 1], began[-1]
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


def dry(engine: Any, trials: int, parallel: int, every: int, profiled: int = 0) -> Probe:
    """The driver's work without Ray: `parallel` candidates are always out. The last `profiled` are profiled."""
    from ray.tune.search import Searcher
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")  # as search.tuning.tuner
    probe = Probe(every, trials - profiled if profiled else -1)
    searcher = engine.searcher
    probe.watch(searcher)
    out: list[tuple[str, dict[str, Any]]] = []
    number = 0
    while True:
        while len(out) < parallel:
            found = searcher.suggest(f"t{number}")
            if found is None or found == Searcher.FINISHED:
                break
            out.append((f"t{number}", json.loads(found["job"])))
            number += 1
        if not out:
            assert engine.refusal is None, engine.refusal
            assert len(probe.tells) >= trials
            return probe
        trial, job = out.pop(0)
        for rung in job.get("rungs", ["all"]):
            outcome = answer(job, rung) | {"job_seconds": 1.0}
            if rung != "all" and not engine.should_continue(trial, outcome):
                break
        searcher.on_trial_complete(trial, {"outcome": json.dumps(outcome)})


def under_ray(engine: Any, workers: int, seconds: float, every: int, profile_from: int = -1) -> Probe:
    """The whole of it, with one Ray actor for each logical worker."""
    import logging

    import ray

    import cluster.trainable
    from cluster.session import QUIET, hush
    from search.tuning.tuner import run_tune

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    hush()
    probe = Probe(every, profile_from)
    probe.watch(engine.searcher)
    known = cluster.trainable.JobTrainable
    try:
        cluster.trainable.JobTrainable = sleeper(seconds)  # type: ignore[misc]
        # Not a Context: that would bring torch into every one of the workers.
        run_tune(engine, SimpleNamespace(threads=1), 0.0)  # type: ignore[arg-type]
    finally:
        cluster.trainable.JobTrainable = known  # type: ignore[misc]
        ray.shutdown()
    return probe


def table(rows: list[list[str]], head: list[str]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def told(probe: Probe, trials: int) -> str:
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
        from results.table.storage import Table

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
    given = parser.parse_args()
    if given.embedded:
        print(embedded_workers(min(given.trials, 48)))
        return
    from search.space.space import DEFAULT_LEVELS

    scratch = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        world = given.world or scratch / "world"
        if (world / "ready").exists():
            import compress

            source, store = compress.Source.open(world / "model"), compress.Store(world / "store")
        else:
            source, store = make_world(world, DEFAULT_LEVELS)
            (world / "ready").touch()
        print(f"{len(source.structure.units)} units, {len(source.structure.layers)} layers", flush=True)
        if given.dry:
            engine = make_engine(source, store, scratch / "runs", "dry", given.trials, given.workers, given.rungs)
            probe = dry(engine, given.trials, given.workers, 100, 200 if given.profile else 0)
            if given.profile:
                show(probe.profile)
            print(told(probe, given.trials))
            return
        rows = []
        for index, seconds in enumerate(given.seconds):
            trials = given.trials if index == 0 else min(given.trials, given.shorter)
            engine = make_engine(source, store, scratch / "runs", f"s{seconds:g}", trials, given.workers, given.rungs)
            probe = under_ray(engine, given.workers, seconds, 100, trials - 200 if given.profile else -1)
            if given.profile:
                show(probe.profile)
            cpu = [probe.cpu(count) for count, *_ in probe.marks[1:]]
            rows.append(
                [
                    f"{seconds:g}",
                    str(trials),
                    f"{100 * probe.in_use(given.workers):.1f} %",
                    f"{sum(cpu) / len(cpu):.1f}" if cpu else "-",
                ]
            )
            print(f"\n{seconds:g} s an evaluation\n\n{told(probe, trials)}", flush=True)
        head = ["evaluation, s", "candidates", f"time of {given.workers} workers in use", "driver CPU, ms a candidate"]
        print(f"\n{table(rows, head)}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
