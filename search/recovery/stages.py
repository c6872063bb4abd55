"""One stage of a recovery: a model as the stage wants it, what trains in it, and what is shipped of that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import compress
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.codecs.grid.integers import QuantizedIntegers, has_integers, quantized_integers, with_integers
from compress.errors import UserError
from compress.policy.recipes import original_policy
from compress.recovery import lora, rounding, scaling, shipping
from compress.recovery.loop import Training
from compress.recovery.matching import Match
from compress.recovery.settings import Settings
from evaluate.data.types import DataSet
from search.recovery import data as lessons_
from search.recovery import encoder_states as hearing
from search.recovery.methods import ADAPTERS, CHEAP, CODES, EMBEDDED, WHOLE, Method, size_of
from search.recovery.task import Report, Task
from search.recovery.teacher import Teacher

DIGITS = 64  # bytes by which a manifest may grow, since it tells sizes
LM = "lm"  # the stack whose hidden states a model tells


@dataclass(frozen=True)
class Stage:
    name: str
    method: Method
    settings: Settings
    folder: Path


@dataclass(frozen=True)
class Setup:
    """What a stage works on: a candidate (with what earlier stages left) and its model in memory."""

    task: Task
    stage: Stage
    now: RecoveredSource
    policy: Policy
    store: compress.Store
    model: Any


def do_stage(
    task: Task,
    stage: Stage,
    source: compress.Source,
    store: compress.Store,
    before: RecoveryDelta,
    lessons: lessons_.Lessons,
    teacher: Teacher,
    say: Report,
) -> tuple[RecoveryDelta, dict[str, Any]]:
    """Trains, and lays what was trained over what there was. Also a note of how it went."""
    now = RecoveredSource(source, before)
    resident = compress.Resident(now, store, device=task.device)
    policy = now.policy
    resident.apply(unquantised(policy, now) if stage.name == WHOLE else policy)
    processor = resident.processor
    taught, matched = stage.settings.distillation > 0, stage.settings.hidden > 0
    words = (
        source.aux_files
        if policy.vocabulary == "full"
        else {**source.aux_files, "vocabulary": policy.vocabulary.encode()}
    )

    def lessons_in(part: DataSet) -> list[dict[str, Any]]:
        made = lessons_.prepared(part, words, processor, task.train_batch, task.spec.chat)
        if not taught:
            return made
        spelled = (policy.vocabulary, task.train_batch, task.spec.chat)
        said = (part.digest, source.digest, *spelled, teacher.source.digest, task.top)
        return lessons_.PREPARED.get(said, lambda: lessons_.with_teacher(made, teacher.under(policy), task.top))

    batches, held = lessons_in(lessons.train), lessons_in(lessons.held_out)
    own = stage.settings.on_policy > 0  # completions of the student's own
    helper = teacher.under(policy) if own or matched else None
    if helper is None:
        teacher.unload()
    trained = _KINDS[stage.name](Setup(task, stage, now, policy, store, resident.model))
    match = matching(source, teacher, policy, helper) if matched else None
    student = trained.model
    if not own:
        student, match, batches, held = heard(trained, match, batches, held)
    told = {"task": task.name, "stage": stage.name}
    training = Training(
        student,
        trained.parameters,
        batches,
        stage.settings,
        held,
        stage.folder / "checkpoints",
        helper,
        lambda entry: say({**told, **entry}),
        match,
    )
    outcome = training.run()
    found = trained.shipped()
    note = {"stage": stage.name, "steps": outcome.steps, "kept": outcome.kept, "stopped": outcome.stopped}
    note |= {"settings": stage.settings.to_dict(), "curve": [e for e in outcome.curve if "held_out" in e]}
    return (
        replace(
            before,
            unquantized={**before.unquantized, **found.kept},
            units={**before.units, **found.units},
            adapters={**before.adapters, **found.adapters},
        ),
        note,
    )


def matching(source: compress.Source, teacher: Teacher, policy: Policy, helper: Any) -> Match:
    """Which of the teacher's hidden states the student's are held to. A teacher of another shape has none to give."""
    ours, its = ({s.name: s.length for s in each.structure.stacks} for each in (source, teacher.source))
    if ours != its:
        raise UserError(
            f"the teacher {teacher.source.folder} has other layers than the model: train with --set hidden=0"
        )
    gone = [layer.index for layer in source.structure.layers if layer.stack == LM and layer.name in policy.dropped]
    return Match.of(helper, ours[LM], gone)


def heard(
    trained: Any, match: Match | None, batches: list[dict[str, Any]], held: list[dict[str, Any]]
) -> tuple[Any, Match | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """Student, match and batches with what towers that stay as they are heard, once for all steps and stages."""
    parts = [batches, held]
    student, known = trained.model, None
    if not hearing.trains(student, trained.parameters.values()):
        known = hearing.known(student, batches, held)
    if known is not None:
        parts = hearing.with_states(parts, known, hearing.BY_STUDENT)
    deaf = known is not None
    student = hearing.Listener(student, hearing.BY_STUDENT, known)
    if match is not None:
        known = hearing.known(match.teacher, batches, held)
        if known is not None:
            parts = hearing.with_states(parts, known, hearing.BY_TEACHER)
        deaf = deaf and known is not None
        match = replace(match, teacher=hearing.Listener(match.teacher, hearing.BY_TEACHER, known))
    if deaf:
        parts = hearing.without_sound(parts)
    return student, match, parts[0], parts[1]


def unquantised(policy: Policy, source: compress.Source) -> Policy:
    """The same layers and vocabulary, every weight as the checkpoint has it; pruned FFNs stay narrow."""
    plain = original_policy(source, policy.dropped).levels
    levels = {}
    for name, level in policy.levels.items():
        levels[name] = f"{level.partition('+')[0]}+{plain[name]}" if level.startswith("ffn:") else plain[name]
    return replace(policy, levels=levels, calibration="")


class Whole:
    """Every weight before compression; encoded again at the policy's levels."""

    def __init__(self, at: Setup) -> None:
        now, policy, store, model = at.now, at.policy, at.store, at.model
        self.now, self.policy, self.store, self.model = now, policy, store, model
        self.here = shipping.names_now(now.structure, policy.dropped)
        parameters = dict(model.named_parameters())
        frozen = {
            n for n in now.structure.unquantized if n in self.here and parameters[self.here[n]].dim() > 1
        }  # positions
        hearing = () if size_of(now) != EMBEDDED else ("audio",)
        frozen |= {t for u in now.structure.units.values() for t in u.tensors if u.name.split(".")[0] in hearing}
        frozen |= {n for layer in now.structure.layers if layer.stack in hearing for n in layer.unquantized}
        self.trains = {name: place for name, place in self.here.items() if name not in frozen}
        self.parameters = {name: parameters[place] for name, place in self.trains.items()}

    def shipped(self) -> RecoveryDelta:
        kept = {n: self.here[n] for n in self.now.structure.unquantized if n in self.trains}
        units = shipping.encoded_again(self.now, self.policy, self.model, self.store)
        changed = {u.name for u in self.now.structure.units.values() if any(t in self.trains for t in u.tensors)}
        return RecoveryDelta(
            self.now.recovery.policy,
            shipping.kept_of(self.now, self.model, kept),
            {name: payload for name, payload in units.items() if name in changed},
        )


class Cheap:
    """Norms, biases and a factor a matrix."""

    def __init__(self, at: Setup) -> None:
        now, policy, store, model = at.now, at.policy, at.store, at.model
        self.now, self.policy, self.store, self.model = now, policy, store, model
        here = shipping.names_now(now.structure, policy.dropped)
        self.kept = {name: here[name] for name in shipping.trainable_kept(now, policy)}
        self.parameters = {name: model.get_parameter(place) for name, place in self.kept.items()}
        self.scaled = {here[name]: name for name in shipping.scalable(now, policy)}
        self.factors = scaling.add_factors(model, list(self.scaled))
        self.parameters |= {f"{name} factor": value for name, value in self.factors.items()}

    def shipped(self) -> RecoveryDelta:
        found = scaling.take_factors(self.model, self.factors)
        factors = {self.scaled[place]: value for place, value in found.items()}
        return RecoveryDelta(
            self.now.recovery.policy,
            shipping.kept_of(self.now, self.model, self.kept),
            shipping.scaled_units(self.now, self.policy, self.store, factors),
        )


def grown(now: RecoveredSource, kept: Mapping[str, Any]) -> int:
    """Bytes by which tensors that are kept as they are grow when some of them change: they are entropy-coded."""
    then = RecoveredSource(now.base, replace(now.recovery, unquantized={**now.recovery.unquantized, **kept}))
    return sum(len(then.unquantized_blob(group)) - len(now.unquantized_blob(group)) for group in now.structure.groups)


class Codes:
    """Integers of grid units, norms and biases."""

    def __init__(self, at: Setup) -> None:
        now, policy, store, model = at.now, at.policy, at.store, at.model
        self.now, self.policy, self.store, self.model = now, policy, store, model
        here = shipping.names_now(now.structure, policy.dropped)
        self.here = here
        self.kept = {name: here[name] for name in shipping.trainable_kept(now, policy)}
        self.parameters = {name: model.get_parameter(place) for name, place in self.kept.items()}
        self.units = [
            unit
            for unit in policy.remaining_units(now.structure)
            if has_integers(policy.levels[unit.name])
            and (policy.vocabulary == "full" or unit.kind not in {"embedding", "head"})
        ]
        found: dict[str, QuantizedIntegers] = {}
        for unit in self.units:
            payload = shipping.payload_of(now, policy, unit, store)
            found |= {here[n]: x for n, x in zip(unit.tensors, quantized_integers(payload, unit.shapes), strict=True)}
        self.moved = rounding.add_rounding(model, found)
        self.parameters |= {f"{name} integers": value for name, value in self.moved.items()}

    def shipped(self) -> RecoveryDelta:
        before = {u.name: shipping.payload_of(self.now, self.policy, u, self.store) for u in self.units}
        total = sum(map(len, before.values()))

        def payloads(outward: float) -> dict[str, bytes]:
            found = rounding.integers_now(self.model, self.moved, outward)
            return {
                unit.name: with_integers(before[unit.name], unit.shapes, [found[self.here[n]] for n in unit.tensors])
                for unit in self.units
            }

        kept = shipping.kept_of(self.now, self.model, self.kept)
        limit = total - grown(self.now, kept) - DIGITS
        outward = rounding.within(limit, lambda at: sum(map(len, payloads(at).values())))
        units = payloads(outward) if outward < math.inf else before
        rounding.take_integers(self.model, self.moved)
        return RecoveryDelta(self.now.recovery.policy, kept, units)


class Adapters:
    """Low-rank matrices over the frozen compressed weights; over bitsandbytes' NF4 where that is the level."""

    def __init__(self, at: Setup) -> None:
        import torch

        now, policy, model, stage = at.now, at.policy, at.model, at.stage
        self.now, self.policy, self.level = now, policy, stage.method.adapter_level
        self.widths = {name: tuple(module.weight.shape) for name, module in model.named_modules() if _linear(module)}
        compute = torch.float32 if at.task.device == "cpu" else torch.bfloat16
        lora.to_nf4(model, shipping.nf4_originals(now, policy), compute)
        rank = stage.method.embedded_rank if size_of(now) == EMBEDDED else stage.method.rank
        self.model, self.parameters = lora.add_adapters(
            model, lora.all_linear(model), lora.Shape(rank, 2.0 * rank), stage.settings.seed
        )

    def shipped(self) -> RecoveryDelta:
        products = lora.products(self.model)
        adapters = shipping.adapters_of(self.now.structure, self.policy, self.widths, products, self.level)
        return RecoveryDelta(self.now.recovery.policy, adapters=adapters)


def _linear(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear)


_KINDS: dict[str, Any] = {WHOLE: Whole, CHEAP: Cheap, CODES: Codes, ADAPTERS: Adapters}
