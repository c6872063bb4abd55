"""One recovery: a candidate, a method, and what it takes to train, ship and score it. Plain data for a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluate.spec import EvalSpec

Report = Callable[[dict[str, Any]], None]  # called with each entry of the training curve


@dataclass(frozen=True)
class Task:
    """Paths must mean the same on every machine of the cluster."""

    name: str  # of the row it becomes
    parent: str
    method: str
    model: str  # folder of the original
    policy: str  # JSON of the parent's
    store: str
    spec: EvalSpec  # what is scored on, and how
    train: str  # what is trained on, and its split
    train_split: str
    out: str  # folder the recovery is written to
    work: str  # folder for checkpoints
    condition: str = "unconstrained"
    held_out: float = 0.15
    begin: str = ""  # folder of a recovery that training goes on from (a model healed while it was pruned)
    teacher: str = ""  # folder of another model; empty: the original
    train_batch: int = 4
    top: int = 32
    device: str = "cpu"
    threads: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)  # given by the user, for every stage
    stage_epochs: Mapping[str, float] = field(default_factory=dict)  # by stage, instead of the method's

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Task:
        return Task(**{**values, "spec": EvalSpec(**values["spec"])})
