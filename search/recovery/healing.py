"""Healing between rounds of pruning: the model without the layers that went is trained; the next round begins there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import compress
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.artifact.recovered import JSON
from compress.policy.recipes import original_policy
from compress.recovery import shipping
from search.recovery import data as lessons_
from search.recovery.methods import WHOLE, method, size_of
from search.recovery.stages import Stage, do_stage
from search.recovery.task import Report, Task
from search.recovery.teacher import Teacher


def heal(
    task: Task,
    source: compress.Source,
    store: compress.Store,
    dropped: tuple[str, ...],
    before: str,
    place: Path,
    say: Report,
) -> str:
    """Trains the model without these layers, from a healed one before it ('' for none); returns where it lies."""
    if (place / JSON).is_file():
        return str(place)
    policy = original_policy(source, dropped)
    begin = narrowed(source, RecoveryDelta.read(before), policy) if before else RecoveryDelta(policy)
    lessons = lessons_.open_lessons(task.train, task.train_split, task.spec.lang, task.condition, task.held_out)
    chosen = method("heal")
    settings = chosen.settings(WHOLE, size_of(source), dict(task.settings))
    stage = Stage(WHOLE, chosen, settings, Path(task.work) / place.name)
    found, note = do_stage(task, stage, source, store, begin, lessons, Teacher(task, source, store), say)
    replace(found, about={"method": "heal", "dropped": list(dropped), "stages": [note]}).save(place)
    return str(place)


def narrowed(source: compress.Source, before: RecoveryDelta, policy: Policy) -> RecoveryDelta:
    """What was trained of the layers that still stay."""
    stays = shipping.names_now(source.structure, policy.dropped)
    kept = {name: value for name, value in before.unquantized.items() if name in stays}
    return RecoveryDelta(policy, kept, {name: value for name, value in before.units.items() if name in policy.levels})


def opened(source: compress.Source, model: str) -> compress.Source:
    """The original, or a healed model by its folder."""
    return RecoveredSource.open_at(source, model) if model else source


def encoded(source: compress.Source, store: compress.Store, model: str, policy: Policy, place: Path) -> str:
    """A healed model at the levels of a policy that drops the same layers: what later training begins with."""
    if (place / JSON).is_file():
        return str(place)
    healed = opened(source, model)
    resident = compress.Resident(healed, store)
    plain = original_policy(source, policy.dropped)
    resident.apply(replace(plain, model=healed.digest))
    recovery = RecoveryDelta.read(model)
    units = shipping.encoded_again(source, policy, resident.model, store)
    changed = {name: payload for name, payload in units.items() if name in recovery.units}
    RecoveryDelta(policy, recovery.unquantized, changed, about=recovery.about).save(place)
    return str(place)
