"""One stage of a recovery: the model it needs, the parameters it trains, and what of them goes into the artifact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import compress
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.codecs.grid.integers import QuantizedIntegers, has_integers, quantized_integers, with_integers
from compress.errors import UserError
from compress.policy.recipes import original_policy
from compress.recovery import lora, rounding, scaling, shipping
from compress.recovery.loop import Training
from compress.recovery.matching import StateMatch
from compress.recovery.settings import TrainingSettings
from evaluate.data.types import DataSet
from search.recovery import data as training_data
from search.recovery import encoder_states
from search.recovery.methods import ADAPTERS, CHEAP, CODES, EMBEDDED, WHOLE, Method, size_of
from search.recovery.task import Report, Task
from search.recovery.teacher import Teacher

DIGITS = 64  # bytes by which a manifest may grow, since it holds sizes
LM = "lm"  # the stack whose hidden states are compared


@dataclass(frozen=True)
class Stage:
    name: str
    method: Method
    settings: TrainingSettings
    folder: Path


@dataclass(frozen=True)
class StageSetup:
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
    data: training_data.TrainingData,
    teacher: Teacher,
    say: Report,
) -> tuple[RecoveryDelta, dict[str, Any]]:
    """Trains one stage; returns the recovery with what was trained, and a note of how it went."""
    now = RecoveredSource(source, before)
    resident = compress.Resident(now, store, device=task.device)
    policy = now.policy
    resident.apply(unquantized(policy, now) if stage.name == WHOLE else policy)
    processor = resident.processor
    taught, matched = stage.settings.distillation > 0, stage.settings.hidden > 0
    words = (
        source.aux_files
        if policy.vocabulary == "full"
        else {**source.aux_files, "vocabulary": policy.vocabulary.encode()}
    )

    def batches_of(part: DataSet) -> list[dict[str, Any]]:
        made = training_data.prepared(part, words, processor, task.train_batch, task.spec.chat)
        if not taught:
            return made
        spelled = (policy.vocabulary, task.train_batch, task.spec.chat)
        key = (part.digest, source.digest, *spelled, teacher.source.digest, task.top)
        return training_data.PREPARED.get(
            key, lambda: training_data.with_teacher(made, teacher.under(policy), task.top)
        )

    batches, held = batches_of(data.train), batches_of(data.held_out)
    own = stage.settings.on_policy > 0  # completions of the student's own
    helper = teacher.under(policy) if own or matched else None
    if helper is None:
        teacher.unload()
    trained = _KINDS[stage.name](StageSetup(task, stage, now, policy, store, resident.model))
    match = matching(source, teacher, policy, helper) if matched else None
    student = trained.model
    if not own:
        student, match, batches, held = reuse_encoder_outputs(trained, match, batches, held)
    tags = {"task": task.name, "stage": stage.name}
    training = Training(
        student,
        trained.parameters,
        batches,
        stage.settings,
        held,
        stage.folder / "checkpoints",
        helper,
        lambda entry: say({**tags, **entry}),
        match,
    )
    outcome = training.run()
    trained_parts = trained.shipped()
    note = {"stage": stage.name, "steps": outcome.steps, "kept": outcome.kept, "stopped": outcome.stopped}
    note |= {"settings": stage.settings.to_dict(), "curve": [e for e in outcome.curve if "held_out" in e]}
    return (
        replace(
            before,
            unquantized={**before.unquantized, **trained_parts.unquantized},
            units={**before.units, **trained_parts.units},
            adapters={**before.adapters, **trained_parts.adapters},
        ),
        note,
    )


def matching(source: compress.Source, teacher: Teacher, policy: Policy, helper: Any) -> StateMatch:
    """Which of the teacher's hidden states the student's are compared with. Refuses a teacher of another shape."""
    ours, its = ({s.name: s.length for s in each.structure.stacks} for each in (source, teacher.source))
    if ours != its:
        raise UserError(
            f"the teacher {teacher.source.folder} has other layers than the model: train with --set hidden=0"
        )
    gone = [layer.index for layer in source.structure.layers if layer.stack == LM and layer.name in policy.dropped]
    return StateMatch.of(helper, ours[LM], gone)


def reuse_encoder_outputs(
    trained: Any, match: StateMatch | None, batches: list[dict[str, Any]], held: list[dict[str, Any]]
) -> tuple[Any, StateMatch | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """Student, match and batches with the outputs of encoders that are not trained, computed once for all steps."""
    parts = [batches, held]
    student, outputs = trained.model, None
    if not encoder_states.encoder_trains(student, trained.parameters.values()):
        outputs = encoder_states.cached_outputs(student, batches, held)
    if outputs is not None:
        parts = encoder_states.with_states(parts, outputs, encoder_states.OF_STUDENT)
    all_known = outputs is not None
    student = encoder_states.WithEncoderStates(student, encoder_states.OF_STUDENT, outputs)
    if match is not None:
        outputs = encoder_states.cached_outputs(match.teacher, batches, held)
        if outputs is not None:
            parts = encoder_states.with_states(parts, outputs, encoder_states.OF_TEACHER)
        all_known = all_known and outputs is not None
        teacher = encoder_states.WithEncoderStates(match.teacher, encoder_states.OF_TEACHER, outputs)
        match = replace(match, teacher=teacher)
    if all_known:
        parts = encoder_states.without_features(parts)
    return student, match, parts[0], parts[1]


def unquantized(policy: Policy, source: compress.Source) -> Policy:
    """The same layers and vocabulary, every weight as the checkpoint has it; pruned FFNs stay narrow."""
    plain = original_policy(source, policy.dropped).levels
    levels = {}
    for name, level in policy.levels.items():
        levels[name] = f"{level.partition('+')[0]}+{plain[name]}" if level.startswith("ffn:") else plain[name]
    return replace(policy, levels=levels, calibration="")


class StageTraining(Protocol):
    """What a kind of stage trains: the model, its trainable parameters, and what of them goes into the artifact."""

    model: Any
    parameters: dict[str, Any]

    def shipped(self) -> RecoveryDelta: ...


class WholeModel:
    """Every weight before compression; encoded again at the policy's levels."""

    def __init__(self, at: StageSetup) -> None:
        now, policy, store, model = at.now, at.policy, at.store, at.model
        self.now, self.policy, self.store, self.model = now, policy, store, model
        self.here = shipping.names_now(now.structure, policy.dropped)
        parameters = dict(model.named_parameters())
        frozen = {
            n for n in now.structure.unquantized if n in self.here and parameters[self.here[n]].dim() > 1
        }  # positions
        untrained = () if size_of(now) != EMBEDDED else ("audio",)  # stacks
        frozen |= {t for u in now.structure.units.values() for t in u.tensors if u.name.split(".")[0] in untrained}
        frozen |= {n for layer in now.structure.layers if layer.stack in untrained for n in layer.unquantized}
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


class NormsAndScales:
    """Norms, biases and a factor a matrix."""

    def __init__(self, at: StageSetup) -> None:
        now, policy, store, model = at.now, at.policy, at.store, at.model
        self.now, self.policy, self.store, self.model = now, policy, store, model
        here = shipping.names_now(now.structure, policy.dropped)
        self.kept = {name: here[name] for name in shipping.trainable_kept(now, policy)}
        self.parameters = {name: model.get_parameter(place) for name, place in self.kept.items()}
        self.scaled = {here[name]: name for name in shipping.scalable(now, policy)}
        self.factors = scaling.add_factors(model, list(self.scaled))
        self.parameters |= {f"{name} factor": value for name, value in self.factors.items()}

    def shipped(self) -> RecoveryDelta:
        trained = scaling.take_factors(self.model, self.factors)
        factors = {self.scaled[place]: value for place, value in trained.items()}
        return RecoveryDelta(
            self.now.recovery.policy,
            shipping.kept_of(self.now, self.model, self.kept),
            shipping.scaled_units(self.now, self.policy, self.store, factors),
        )


def grown(now: RecoveredSource, kept: Mapping[str, Any]) -> int:
    """Bytes by which tensors that are kept as they are grow when some of them change: they are entropy-coded."""
    then = RecoveredSource(now.base, replace(now.recovery, unquantized={**now.recovery.unquantized, **kept}))
    return sum(len(then.unquantized_blob(group)) - len(now.unquantized_blob(group)) for group in now.structure.groups)


class GridIntegers:
    """Integers of grid units, norms and biases."""

    def __init__(self, at: StageSetup) -> None:
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
        integers: dict[str, QuantizedIntegers] = {}
        for unit in self.units:
            payload = shipping.payload_of(now, policy, unit, store)
            integers |= {
                here[n]: x for n, x in zip(unit.tensors, quantized_integers(payload, unit.shapes), strict=True)
            }
        self.moved = rounding.add_rounding(model, integers)
        self.parameters |= {f"{name} integers": value for name, value in self.moved.items()}

    def shipped(self) -> RecoveryDelta:
        before = {u.name: shipping.payload_of(self.now, self.policy, u, self.store) for u in self.units}
        total = sum(map(len, before.values()))

        def payloads(outward: float) -> dict[str, bytes]:
            integers = rounding.integers_now(self.model, self.moved, outward)
            return {
                unit.name: with_integers(before[unit.name], unit.shapes, [integers[self.here[n]] for n in unit.tensors])
                for unit in self.units
            }

        kept = shipping.kept_of(self.now, self.model, self.kept)
        limit = total - grown(self.now, kept) - DIGITS
        outward = rounding.within(limit, lambda at: sum(map(len, payloads(at).values())))
        units = payloads(outward) if outward < math.inf else before
        rounding.take_integers(self.model, self.moved)
        return RecoveryDelta(self.now.recovery.policy, kept, units)


class AdapterTraining:
    """Low-rank matrices over the frozen compressed weights; over bitsandbytes' NF4 where that is the level."""

    def __init__(self, at: StageSetup) -> None:
        import torch

        now, policy, model, stage = at.now, at.policy, at.model, at.stage
        self.now, self.policy, self.level = now, policy, stage.method.adapter_level
        self.widths = {name: tuple(module.weight.shape) for name, module in model.named_modules() if _linear(module)}
        compute = torch.float32 if at.task.device == "cpu" else torch.bfloat16
        lora.to_nf4(model, shipping.nf4_originals(now, policy), compute)
        rank = stage.method.embedded_rank if size_of(now) == EMBEDDED else stage.method.rank
        self.model, self.parameters = lora.add_adapters(
            model, lora.all_linear(model), lora.AdapterShape(rank, 2.0 * rank), stage.settings.seed
        )

    def shipped(self) -> RecoveryDelta:
        products = lora.products(self.model)
        adapters = shipping.adapters_of(self.now.structure, self.policy, self.widths, products, self.level)
        return RecoveryDelta(self.now.recovery.policy, adapters=adapters)


def _linear(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear)


_KINDS: dict[str, Callable[[StageSetup], StageTraining]] = {
    WHOLE: WholeModel,
    CHEAP: NormsAndScales,
    CODES: GridIntegers,
    ADAPTERS: AdapterTraining,
}
