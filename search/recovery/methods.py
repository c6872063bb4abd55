"""Methods of recovery by name: what each trains, on what, with which numbers. A method is data.

Stages, done one after the other on the candidate:
- `whole`: every weight without the dropped layers, before compression; then encoded at the policy's levels;
- `codes`: integers of `grid` units, norms and biases, seeing the rounded weights; a few bytes more or less;
- `cheap`: norms, biases and one factor a `grid` matrix; no bytes;
- `adapters`: low-rank matrices through PEFT over the frozen compressed weights, stored beside them and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import compress
from compress.errors import UserError
from compress.recovery.settings import TrainingSettings

WHOLE, CODES, CHEAP, ADAPTERS = "whole", "codes", "cheap", "adapters"
GOLD, UNION = "gold", "gold and the teacher's translations"
EMBEDDED, FULL = "embedded", "full"
SMALL = 100_000_000  # parameters under which a model takes the embedded settings

Changes = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A way to recover. `full` and `embedded` are settings that differ from the published defaults, by stage."""

    name: str
    about: str
    stages: tuple[str, ...]
    texts: str = GOLD
    learns: Changes = field(default_factory=dict)  # what is minimised
    full: dict[str, Changes] = field(default_factory=dict)
    embedded: dict[str, Changes] = field(default_factory=dict)
    adapter_level: str = "raw:bf16"
    rank: int = 64
    embedded_rank: int = 4

    def settings(self, stage: str, size: str, changes: Changes) -> TrainingSettings:
        """The numbers of a stage; what a user gave comes last."""
        kept = self.full if size == FULL else self.embedded
        return TrainingSettings().but(**{**self.learns, **kept.get(stage, {}), **changes})


_TOKENS: Changes = {"cross_entropy": 0.2, "distillation": 1.0, "hidden": 10.0}
_WHOLE: Changes = {"learning_rate": 1e-3, "warmup": 0.05, "epochs": 3, "checkpoint_every": 50}
_FINE: Changes = {"learning_rate": 1e-3, "warmup": 0.05, "epochs": 2, "checkpoint_every": 50}
_GENTLE: Changes = {"learning_rate": 5e-4, "warmup": 0.05, "epochs": 2, "checkpoint_every": 50}
# Full size: published rates for what was published; for the rest, rates that the literature on such training uses.
_FULL: dict[str, Changes] = {
    CODES: {"learning_rate": 1e-4, "warmup": 0.05},
    CHEAP: {"learning_rate": 1e-4, "warmup": 0.05},
}
_EMBEDDED: dict[str, Changes] = {WHOLE: _WHOLE, CODES: _FINE, CHEAP: _FINE, ADAPTERS: _FINE}

METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("sft", "fine-tuning on gold, encoded again", (WHOLE,), embedded=_EMBEDDED),
        Method(
            "seqkd", "fine-tuning on gold and teacher's translations (Moslem 2025)", (WHOLE,), UNION, embedded=_EMBEDDED
        ),
        Method(
            "distill",
            "distillation by token: the pruned model first, then integers, norms and biases of the compressed one",
            (WHOLE, CODES),
            GOLD,
            _TOKENS,
            _FULL,
            _EMBEDDED,
        ),
        Method(
            "heal",
            "distillation by token of the pruned model, encoded again",
            (WHOLE,),
            GOLD,
            _TOKENS,
            _FULL,
            _EMBEDDED,
        ),
        Method(
            "codes", "distillation by token into integers, norms and biases", (CODES,), GOLD, _TOKENS, _FULL, _EMBEDDED
        ),
        Method(
            "cheap", "distillation by token into norms, biases and scales", (CHEAP,), GOLD, _TOKENS, _FULL, _EMBEDDED
        ),
        Method(
            "gkd",
            "generalised distillation: a quarter of the batches with the student's own translations",
            (WHOLE, CODES),
            GOLD,
            {**_TOKENS, "beta": 0.5, "on_policy": 0.25},
            _FULL,
            {
                **_EMBEDDED,
                WHOLE: {**_WHOLE, "max_new_tokens": 64},
                CODES: {**_FINE, "max_new_tokens": 64},
                CHEAP: {**_FINE, "max_new_tokens": 64},
            },
        ),
        Method(
            "qlora",
            "adapters of rank 64 on gold and teacher's translations (Moslem 2025)",
            (ADAPTERS,),
            UNION,
            embedded=_EMBEDDED,
        ),
        Method("lora", "adapters with distillation by token", (ADAPTERS,), GOLD, _TOKENS, _FULL, _EMBEDDED),
        Method(
            "heal+qlora",
            "pruned model fine-tuned on gold and teacher's translations, then adapters (Moslem 2025)",
            (WHOLE, ADAPTERS),
            UNION,
            embedded={**_EMBEDDED, ADAPTERS: _GENTLE},
        ),
    )
}


def method(name: str) -> Method:
    """By name; `lora:16` has adapters of rank 16, `lora:16:grid@4` stores them at that level."""
    base, _, rest = name.partition(":")
    if base not in METHODS:
        raise UserError(f"unknown method of recovery '{base}': known are {', '.join(METHODS)}")
    base_method = METHODS[base]
    if not rest:
        return base_method
    rank, _, level = rest.partition(":")
    if ADAPTERS not in base_method.stages or not rank.isdigit() or not 1 <= int(rank) <= 1024:
        raise UserError(f"method '{name}': only methods with adapters take a rank, such as lora:16 or lora:16:grid@4")
    if level:
        level = compress.codecs.codec(level).level
    return replace(
        base_method,
        name=name,
        rank=int(rank),
        embedded_rank=int(rank),
        adapter_level=level or base_method.adapter_level,
    )


def parse(text: str) -> tuple[Method, ...]:
    """`distill,qlora` as methods."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UserError(f"--methods names none: known are {', '.join(METHODS)}")
    return tuple(method(name) for name in dict.fromkeys(names))


def size_of(source: compress.Source) -> str:
    return EMBEDDED if source.structure.parameters < SMALL else FULL
