"""Recoveries of a run's candidates, spread over the Ray cluster; each becomes a row of the same table and front.

A row is named after its parent and method (`c00012+distill`); one that is there already is not made again, and a task
that was cut off goes on from its checkpoints. What training changed lies in `RUN/recovered/<row>/`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.metrics import Gauge

import compress
from cluster.jobs import Context
from cluster.metrics import PREFIX, RECOVERY
from compress import Policy
from compress.errors import UserError
from results.candidate import FAILED, Candidate
from search.recorder import EvaluatedPolicy, Recorder, parameters_left
from search.recovery.job import recover
from search.recovery.methods import method
from search.recovery.task import Task
from search.run_dir import RunDir

RECOVERED, WORK = "recovered", ".training"


@dataclass(frozen=True)
class RecoveryOptions:
    """What recovery needs beside the run: what to train on, and how."""

    train: str
    train_split: str = "train"
    condition: str = "unconstrained"
    held_out: float = 0.15
    teacher: str = ""
    train_batch: int = 4
    settings: dict[str, Any] = field(default_factory=dict)


def recover_run(
    run_dir: RunDir,
    recorder: Recorder,
    context: Context,
    candidates: Sequence[Candidate],
    methods: Sequence[str],
    options: RecoveryOptions,
    gpus: float = 0.0,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> list[Candidate]:
    """Recovers candidates by each of the methods; Ray must be up and the context's scorers running. The new rows."""
    source = compress.Source.open(context.model)
    waiting = [
        task
        for task in tasks(run_dir, context, source, candidates, methods, options)
        if not any(c.candidate == task.name and c.status != FAILED for c in recorder.candidates)
    ]
    known = len(candidates) * len(methods) - len(waiting)
    say(f"recovering {len(waiting)} candidates" + (f" ({known} are there already)" if known else ""))
    rows = []
    for task, outcome in spread(waiting, context, gpus, workers):
        row = record(recorder, source, task, outcome)
        rows.append(row)
        say(line(row, recorder, outcome))
    return rows


def tasks(
    run_dir: RunDir,
    context: Context,
    source: compress.Source,
    candidates: Sequence[Candidate],
    methods: Sequence[str],
    options: RecoveryOptions,
) -> list[Task]:
    """Every candidate with every method. Refuses candidates that cannot be begun with."""
    made = []
    for candidate in candidates:
        policy = run_dir.read_policy(candidate.policy)
        if candidate.parent:
            raise UserError(
                f"candidate {candidate.candidate} is recovered already, from {candidate.parent}: give that one"
            )
        if policy.model != source.digest:
            raise UserError(
                f"candidate {candidate.candidate} is of model {policy.model[:12]}, this one is {source.digest[:12]}:"
                " give the model of the run with --model"
            )
        for name in methods:
            row = f"{candidate.candidate}+{method(name).name.replace(':', '-')}"
            place = run_dir.path / RECOVERED
            made.append(
                Task(
                    name=row,
                    parent=candidate.candidate,
                    method=name,
                    model=context.model,
                    policy=policy.to_json(),
                    store=context.store,
                    spec=context.spec,
                    train=options.train,
                    train_split=options.train_split,
                    condition=options.condition,
                    held_out=options.held_out,
                    teacher=options.teacher,
                    out=str((place / row).resolve()),
                    work=str((place / WORK / row).resolve()),
                    train_batch=options.train_batch,
                    device=context.device,
                    threads=context.threads,
                    settings=options.settings,
                )
            )
    return made


def spread(
    waiting: Sequence[Task], context: Context, gpus: float, workers: int
) -> Iterable[tuple[Task, dict[str, Any]]]:
    """Outcomes as they come, at most `workers` tasks at once."""
    remote = ray.remote(num_gpus=gpus, num_cpus=0 if gpus else 1, max_retries=1)(work)
    left = list(waiting)
    running: dict[Any, Task] = {}
    while left or running:
        while left and len(running) < workers:
            task = left.pop(0)
            scorer = context.scorers[len(left) % len(context.scorers)]
            running[remote.remote(task.to_dict(), scorer)] = task
        ready, _ = ray.wait(list(running), num_returns=1)
        task = running.pop(ready[0])
        try:
            outcome = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            outcome = {"error": f"the worker died: {str(error).strip().splitlines()[-1][:200]}"}
        yield task, outcome


def work(task: dict[str, Any], scorer: str) -> dict[str, Any]:
    """One task on a worker. What goes wrong is reported, not raised."""
    actor = ray.get_actor(scorer)

    def score(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        scores: list[float]
        scores, _ = ray.get(actor.score.remote(list(sources), list(hypotheses), list(references)))
        return scores

    meter = Meter(Path(task["out"]).parent.parent.name)
    try:
        return recover(Task.from_dict(task), score, meter.say)
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # the driver records the row as failed
        return {"error": f"{type(error).__name__}: {error}"}


class Meter:
    """The curve of a training as metrics. Each step reports all: Ray's agent forgets a gauge once it was scraped."""

    def __init__(self, run: str) -> None:
        self.run = run
        self._gauges: dict[str, Any] = {}
        self._values: dict[str, Any] = {}

    def say(self, entry: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # a number that is not shown is no reason to stop training
            tags = {"run": self.run, "task": str(entry.get("task", "")), "stage": str(entry.get("stage", ""))}
            if self._values.get("stage") != tags["stage"]:
                self._values = {"stage": tags["stage"]}
            self._values |= {name: value for name, value in entry.items() if value is not None}
            for name, declared in RECOVERY.items():
                value = self._values.get(name.removeprefix("recovery_"))
                if value is None:
                    continue
                if name not in self._gauges:
                    self._gauges[name] = Gauge(PREFIX + name, declared.help, tag_keys=("run", *declared.tags))
                self._gauges[name].set(float(value), tags)


def record(recorder: Recorder, source: compress.Source, task: Task, outcome: dict[str, Any]) -> Candidate:
    """Adds a row to the run's table. One scored on held-out talks only is left out of fronts and comparisons."""
    policy = Policy.from_json(outcome["policy"]) if "policy" in outcome else Policy.from_json(task.policy)
    failed = "error" in outcome  # perhaps because the store lacks the vocabulary, which counting would need
    parameters = 0 if failed else parameters_left(source, policy, compress.Store(task.store))
    recipe = f"recover:{task.method}"
    evaluated = EvaluatedPolicy(task.name, recipe, policy, outcome.get("bytes", 0), parameters, 0.0, parent=task.parent)
    part = {"held_out": True, "rung": "part"} if outcome.get("part") and not failed else {}
    return recorder.record(evaluated, {**outcome, **part})


def line(row: Candidate, recorder: Recorder, outcome: dict[str, Any]) -> str:
    """What came of it, in one line, against the parent on the same segments."""
    if row.status == FAILED:
        return f"{row.candidate}: failed, {row.error}"
    parent, part, before = recorder.find(row.parent), outcome.get("part"), ""
    if parent is not None:
        comet = parent.comet
        if part:  # rows in memory carry no scores of segments
            scores = next(c for c in recorder.table.read() if c.candidate == row.parent).comet_segments
            comet = sum(scores[index] for index in part) / len(part)
        before = f" (before: {comet:.4f} at {parent.bytes:,} bytes)"
    some = f", on the {row.segments} segments of talks held out" if part else ""
    why = f"; {outcome['training_stopped']}" if outcome.get("training_stopped") else ""
    return f"{row.candidate}: COMET {row.comet:.4f} at {row.bytes:,} bytes{before}{some}{why}"
