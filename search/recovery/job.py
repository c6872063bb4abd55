"""Does one recovery from beginning to end: teacher, stages of training, what is shipped, its bytes and its scores.

Every finished stage and every checkpoint is on disk, so a task that was killed goes on where it was.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import compress
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.artifact.recovered import JSON
from compress.codecs.grid.integers import has_integers
from compress.codecs.grid.scales import can_rescale
from compress.errors import UserError
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.evaluate import SegmentMetric, evaluate
from evaluate.spec import EvalSpec
from search.recovery import data as training_data
from search.recovery.methods import CHEAP, CODES, UNION, WHOLE, method, size_of
from search.recovery.stages import Stage, do_stage
from search.recovery.task import Report, Task
from search.recovery.teacher import Teacher


def recover(task: Task, score: SegmentMetric, say: Report | None = None) -> dict[str, Any]:
    """The outcome of a task: bytes, scores, the policy of the recovered candidate. Refuses what cannot be trained."""
    import torch

    if task.threads:
        torch.set_num_threads(task.threads)
    source, store = compress.Source.open(task.model), compress.Store(task.store)
    policy = Policy.from_json(task.policy)
    policy.check(source.structure, source.digest)
    reported, part = reporting(task.spec, opened(task), task.train)
    began = time.perf_counter()
    out = Path(task.out)
    if not (out / JSON).is_file():
        train(task, source, store, policy, say or (lambda _: None)).save(out)
        shutil.rmtree(task.work, ignore_errors=True)
    recovery = RecoveryDelta.read(out)
    recovered = RecoveredSource(source, recovery)
    seconds = time.perf_counter() - began
    outcome = scored(task, recovered, store, reported, score)
    curve = recovery.about.get("stages", [])
    return {**outcome, "bytes": size(recovered, store), "policy": recovered.policy.to_json(), "part": part} | {
        "train_seconds": seconds,
        "stages": curve,
        "training_stopped": "; ".join(stage["stopped"] for stage in curve if stage.get("stopped")),
    }


def opened(task: Task) -> training_data.TrainingData:
    """What a task trains on."""
    return training_data.open_lessons(task.train, task.train_split, task.spec.lang, task.condition, task.held_out)


def reporting(spec: EvalSpec, lessons: training_data.TrainingData, train: str) -> tuple[DataSet, tuple[int, ...]]:
    """What is scored: all of it, or, if some of its talks are trained on, the segments of the talks held out.

    The numbers are those of the segments in the run's data, empty for all. `train` names what is trained on.
    """
    data = spec.open_data()
    trained = {segment.talk for segment in lessons.train.segments} - {""}
    if not trained & {segment.talk for segment in data.segments}:
        training_data.refuse_overlap(lessons, data)
        return data, ()
    part = tuple(index for index, segment in enumerate(data.segments) if segment.talk not in trained)
    if not part:
        talks = len({segment.talk for segment in data.segments})
        raise UserError(
            f"training on {train} leaves nothing to score on: the run was scored on {len(data.segments)} segments of"
            f" {talks} talk{'s' * (talks != 1)} of {spec.data} ({spec.split}), all of them trained on; give other data"
            " with --train, or hold more out with --held-out"
        )
    held_out = replace(data, segments=tuple(data.segments[index] for index in part))
    training_data.refuse_overlap(lessons, held_out)
    return held_out, part


def train(task: Task, source: compress.Source, store: compress.Store, policy: Policy, say: Report) -> RecoveryDelta:
    """All stages, each on what the one before it left."""
    chosen, work = method(task.method), Path(task.work)
    lessons = opened(task)
    teacher = Teacher(task, source, store)
    if chosen.texts == UNION:
        translations = teacher.translations(lessons.train, work.parent)
        lessons = replace(lessons, train=training_data.union(lessons.train, translations))
    stages = needed(chosen.stages, policy, bool(task.teacher))
    if task.begin and len(stages) > 1 and WHOLE in stages:
        stages.remove(WHOLE)  # that was done between the rounds
    if not stages:
        raise UserError(
            f"method {task.method} has nothing to train in {task.parent}: it drops no layer and keeps no plain grid"
            " (--no-trellis searches with that); distill, cheap, lora and qlora can train a trellis"
        )
    recovery = RecoveryDelta.read(task.begin) if task.begin else RecoveryDelta(policy)
    if recovery.policy != policy:
        raise UserError(f"the recovery at {task.begin} was made of another policy than {task.parent}'s")
    notes: list[dict[str, Any]] = []
    for number, name in enumerate(stages):
        place = work / f"{number}-{name}"
        if (place / "recovery" / JSON).is_file():
            recovery = RecoveryDelta.read(place / "recovery")
            notes = list(recovery.about.get("stages", []))
            continue
        changes = {**task.settings, **({"epochs": task.stage_epochs[name]} if name in task.stage_epochs else {})}
        stage = Stage(name, chosen, chosen.settings(name, size_of(source), changes), place)
        recovery, note = do_stage(task, stage, source, store, recovery, lessons, teacher, say)
        notes.append(note)
        about: dict[str, Any] = {"method": task.method, "parent": task.parent, "train": task.train, "stages": notes}
        about["train_split"] = task.train_split
        about |= {"condition": lessons.label, "segments": len(lessons.train.segments)}
        recovery = replace(recovery, about=about)
        recovery.save(place / "recovery")
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
    return recovery


def needed(stages: Sequence[str], policy: Policy, other_teacher: bool) -> list[str]:
    """Without dropped layers the whole model is its own teacher, and has nothing to learn from it by token.

    A policy without a plain `grid` level has no integers to train; with a trellis, scales stand in for them in methods
    of several stages.
    """
    remaining = list(stages)
    only = len(remaining) == 1
    if WHOLE in remaining and not policy.dropped and not other_teacher and not only:
        remaining.remove(WHOLE)
    if CODES in remaining and not any(has_integers(level) for level in policy.levels.values()):
        scales = not only and any(can_rescale(level) for level in policy.levels.values())
        remaining[remaining.index(CODES) :] = [CHEAP] if scales else []
    return remaining


def size(recovered: RecoveredSource, store: compress.Store) -> int:
    """Bytes of the artifact, to the byte."""
    policy = recovered.policy
    wanted = compress.EncodeOptions(policy.vocabulary, policy.calibration)
    for unit, level in policy.levels.items():
        compress.build(recovered, unit, level, store, options=wanted)
    return compress.Ledger(recovered, store, (), policy.calibration).predict(policy)


def scored(
    task: Task, source: compress.Source, store: compress.Store, data: DataSet, score: SegmentMetric
) -> dict[str, Any]:
    """Translations and scores of a recovered model, in memory what loading its artifact gives."""
    assert isinstance(source, RecoveredSource)
    resident = compress.Resident(source, store, device=task.device)
    resident.apply(source.policy)
    batches = prepare(data, resident.processor, task.spec.batch_size, task.spec.chat)
    evaluation = evaluate(resident.model, resident.processor, batches, data, score, task.spec.max_new_tokens)
    return evaluation.to_dict()
