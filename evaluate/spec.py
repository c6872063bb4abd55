"""EvalSpec: what a score depends on besides the model and COMET. Runs, recoveries and exports share it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.metrics.comet import Identity


@dataclass(frozen=True)
class EvalSpec:
    """The data, and how a model translates it."""

    data: str  # as `open_data` takes it
    split: str
    lang: str  # such as en-zh
    segments: int | None = None  # the first so many; None for all
    chat: bool = False  # the ChatML prompt of -Instruct models
    batch_size: int = 32
    max_new_tokens: int = 256

    def open_data(self) -> DataSet:
        return open_data(self.data, self.split, self.lang).first(self.segments)

    def signature(self, comet: Identity, data: DataSet) -> str:
        """What it takes to get the same COMET score again, in sacrebleu's manner. `data` is what was opened."""
        libraries = "|".join(f"{name}:{version(name)}" for name in ("transformers", "torch"))
        scored = comet.signature(data.signature(cleaned=True))
        return f"{scored}|max_new_tokens:{self.max_new_tokens}|{libraries}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> EvalSpec:
        return EvalSpec(**json.loads(text))
