"""One recovery: a candidate, a method, and what it takes to train, ship and score it. Plain data for a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]
Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """Paths must mean the same on every machine of the cluster."""

    name: str  # of the row it becomes
    parent: str
    method: str
    model: str  # folder of the original
    policy: str  # JSON of the parent's
    store: str
    lang: str
    data: str  # what is scored on, and its split
    split: str
    train: str  # what is trained on, and its split
    train_split: str
    out: str  # folder the recovery is written to
    work: str  # folder for checkpoints
    segments: int | None = None
    condition: str = "unconstrained"
    held_out: float = 0.15
    begin: str = ""  # folder of a recovery that training goes on from (a model healed while it was pruned)
    teacher: str = ""  # folder of another model; empty: the original
    chat: bool = False
    train_batch: int = 4
    batch_size: int = 32
    max_new_tokens: int = 256
    top: int = 32
    device: str = "cpu"
    threads: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)  # given by the user, for every stage
    stage_epochs: Mapping[str, float] = field(default_factory=dict)  # by stage, instead of the method's

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
