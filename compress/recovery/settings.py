"""Every number of a training run, with the published ones as defaults (Moslem 2025, FACTS)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from compress.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Batches come as they are; `accumulate` of them make a step."""

    epochs: float = 3.0
    learning_rate: float = 1e-5  # at its peak; then half a cosine down to nothing
    weight_decay: float = 0.001  # of matrices
    warmup: float = 0.0  # share of the steps
    accumulate: int = 1
    clip: float = 1.0  # norm of the gradient
    cross_entropy: float = 1.0  # weight of the loss on the completions' tokens
    distillation: float = 0.0  # weight of the divergence from the teacher
    hidden: float = 0.0  # weight of the distance from the teacher's hidden states (needs the teacher at hand)
    beta: float = 0.0  # 0: KL(teacher ‖ student), 1: KL(student ‖ teacher), between: the Jensen-Shannon of GKD
    on_policy: float = 0.0  # share of batches whose completions the student writes itself (needs the teacher at hand)
    max_new_tokens: int = 256  # of those completions
    checkpoint_every: int = 100  # steps
    keep_best: bool = True  # of the states at checkpoints, the one with the lowest held-out loss; else the last
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not least <= value <= most:
                raise UserError(f"training with {name} {value}: give {least:g} to {most:g}")
        if self.cross_entropy == self.distillation == 0:
            raise UserError("training with neither cross-entropy nor distillation trains nothing")

    def steps(self, batches: int) -> int:
        return max(1, math.ceil(batches * self.epochs / self.accumulate))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = self.warmup * steps
        if step < warm:
            return self.learning_rate * (step + 1) / (warm + 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, steps - warm)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def but(self, **changes: Any) -> Settings:
        """These settings with others in their place, as text from a command line or as values."""
        known = {f.name: f.type for f in fields(Settings)}
        typed = {}
        for name, value in changes.items():
            if name not in known:
                raise UserError(f"unknown training setting {name!r}; there are {', '.join(known)}")
            try:
                typed[name] = json.loads(value) if isinstance(value, str) else value
                if known[name] == "int" and int(typed[name]) != typed[name]:
                    raise ValueError
                typed[name] = {"int": int, "float": float, "bool": bool}[str(known[name])](typed[name])
            except (ValueError, TypeError):
                raise UserError(f"training setting {name}={value}: not a value of its kind") from None
        return replace(self, **typed)


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE of a command line as a table. Raises UserError where there is no such setting or value."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair}: write NAME=VALUE, such as epochs=1")
        settings[name.strip()] = value.strip()
    Settings().but(**settings)
    return settings


_RANGES = (
    ("epochs", 1e-6, 1e6),
    ("learning_rate", 0.0, 10.0),
    ("weight_decay", 0.0, 10.0),
    ("warmup", 0.0, 1.0),
    ("accumulate", 1, 1 << 20),
    ("clip", 1e-9, 1e9),
    ("cross_entropy", 0.0, 1e6),
    ("distillation", 0.0, 1e6),
    ("hidden", 0.0, 1e6),
    ("beta", 0.0, 1.0),
    ("on_policy", 0.0, 1.0),
    ("max_new_tokens", 1, 1 << 16),
    ("checkpoint_every", 1, 1 << 30),
)
