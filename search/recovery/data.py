"""Speech or text with references → batches to train on, under the data condition; and a teacher's word on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, TypeVar

import torch
from torch import Tensor

from compress.errors import UserError
from compress.recovery.batches import taught
from compress.recovery.losses import IGNORE
from evaluate.data.conditions import check_condition, check_disjoint, split_by_talk
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare

Made = TypeVar("Made")
HELD_OUT = 0.15  # of the segments, in whole talks


@dataclass(frozen=True)
class TrainingData:
    """What is trained on and what is held out: whole talks of one data set, or of two."""

    train: DataSet
    held_out: DataSet
    label: str  # of the data condition


def check_share(held_out: float) -> None:
    """Refuses a --held-out that is no share between 0 and 1; NaN is none."""
    if not 0 < held_out < 1:
        raise UserError(f"--held-out {held_out:g}: give a share between 0 and 1, such as {HELD_OUT:g}")


def open_lessons(
    spec: str, split: str, lang: str, condition: str = "unconstrained", held_out: float = HELD_OUT
) -> TrainingData:
    """Reads what a spec names and holds whole talks out. Refuses what the condition forbids, eval always."""
    data = open_data(spec, split, lang)
    label = check_condition(condition, data, "training")
    empty = [segment.id for segment in data.segments if not segment.reference.strip()]
    if empty:
        raise UserError(
            f"training on {spec}: {len(empty)} of {len(data.segments)} segments have no reference, first {empty[0]};"
            " training needs translations"
        )
    if data.gold is not None:
        raise UserError(f"training on {spec}: an automatic segmentation has no references of its own; use the gold one")
    train, held = hold_out(data, held_out)
    check_disjoint(train, held)
    return TrainingData(train, held, label)


def hold_out(data: DataSet, share: float) -> tuple[DataSet, DataSet]:
    """Whole talks; of text, which has none, the last sentences."""
    if not data.is_text or any(segment.talk for segment in data.segments):
        return split_by_talk(data, 1 - share)
    count = len(data.segments)
    at = count - max(1, round(share * count))
    if not 0 < share < 1 or at < 1:
        raise UserError(f"cannot hold {share:g} of {count} sentences out: give a share between 0 and 1 and more data")
    return replace(data, segments=data.segments[:at]), replace(data, segments=data.segments[at:])


def refuse_overlap(lessons: TrainingData, reporting: DataSet) -> None:
    """What is reported on was never trained on."""
    check_disjoint(lessons.train, reporting)


def union(data: DataSet, translations: Sequence[str]) -> DataSet:
    """Gold and the teacher's translations of the same speech, each once (sequence-level distillation)."""
    added = [
        replace(segment, id=f"{segment.id}+teacher", reference=text)
        for segment, text in zip(data.segments, translations, strict=True)
        if text.strip() and text != segment.reference
    ]
    return replace(data, segments=(*data.segments, *added))


def lessons_of(data: DataSet, processor: Any, batch_size: int, chat: bool = False) -> list[dict[str, Tensor]]:
    """Batches with prompts masked: only the translation's tokens, and its end, are learnt."""
    tokenizer = getattr(processor, "tokenizer", processor)
    out = []
    for batch in prepare(data, processor, batch_size, chat):
        rows = [[*tokenizer(data.segments[i].reference).input_ids, tokenizer.eos_token_id] for i in batch.indices]
        out.append(with_completions(batch.inputs, rows, tokenizer.pad_token_id))
    return out


def with_completions(inputs: dict[str, Any], rows: Sequence[Sequence[int]], padding: int) -> dict[str, Tensor]:
    """Prompts, padded on the left, and completions, padded on the right, as one sequence with labels."""
    prompts, prompt_mask = inputs["input_ids"], inputs["attention_mask"]
    longest = max(map(len, rows))
    written = torch.full((len(rows), longest), padding)
    mask = torch.zeros((len(rows), longest), dtype=prompt_mask.dtype)
    for row, ids in enumerate(rows):
        written[row, : len(ids)] = torch.tensor(list(ids))
        mask[row, : len(ids)] = 1
    labels = torch.cat([torch.full_like(prompts, IGNORE), torch.where(mask.bool(), written, IGNORE)], dim=1)
    return {
        **inputs,
        "input_ids": torch.cat([prompts, written], dim=1),
        "attention_mask": torch.cat([prompt_mask, mask], dim=1),
        "labels": labels,
    }


class PreparedCache:
    """Batches of data sets, teachers' log-probabilities and encoder outputs, kept for the next method."""

    MOST = 12

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Any] = {}

    def get(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        if key not in self._kept:
            made = make()
            while len(self._kept) >= self.MOST:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = made
        batches: Made = self._kept[key]
        return batches


PREPARED = PreparedCache()  # of this process


def prepared(
    data: DataSet, words: Mapping[str, bytes], processor: Any, batch_size: int, chat: bool = False
) -> list[dict[str, Tensor]]:
    """`lessons_of`, once for all models with these tokenizer and processor files."""
    files = blake2b(b"".join(name.encode() + words[name] for name in sorted(words)), digest_size=16).hexdigest()
    key = (data.digest, files, batch_size, chat)
    return PREPARED.get(key, lambda: lessons_of(data, processor, batch_size, chat))


def digest_of(batches: Sequence[Mapping[str, Tensor]], name: str) -> str:
    """Of one tensor in all batches; empty where they have none."""
    state = blake2b(digest_size=16)
    for batch in batches:
        if name not in batch:
            return ""
        state.update(batch[name].contiguous().numpy().data)
    return state.hexdigest()


def with_teacher(batches: Sequence[dict[str, Tensor]], teacher: Any, top: int) -> list[dict[str, Tensor]]:
    """The batches with the teacher's likeliest tokens at each place."""
    return [taught(teacher, batch, top) for batch in batches]
