"""Speech or text, and a prompt → padded batches a model takes. Made once, used for every candidate.

Batches hold segments of like length, left-padded; the processor is asked with `audio=` and its features are
asserted to be there, because later versions ignore a wrong keyword silently and the model hears nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compress.errors import UserError
from evaluate.data.audio import read_audio
from evaluate.data.types import DataSet
from evaluate.decoding.prompts import prompt, text_prompt

FEATURES = ("input_features", "feature_attention_mask")


@dataclass(frozen=True)
class Batch:
    """Indices into the data set and the tensors that go to `generate`."""

    indices: tuple[int, ...]
    inputs: dict[str, Any]

    @cached_property
    def heard_digest(self) -> str:
        """What the audio tower hears, sound for sound; empty without any."""
        return _digest([self.inputs[name] for name in FEATURES if name in self.inputs])

    @cached_property
    def row_digests(self) -> tuple[str, ...]:
        """What a row asks, padding left out: the same in whichever batch it stands."""
        mask = self.inputs["attention_mask"].bool()
        return tuple(
            _digest(
                [self.inputs["input_ids"][row][mask[row]]] + [self.inputs[n][row] for n in FEATURES if n in self.inputs]
            )
            for row in range(len(self.indices))
        )


def _digest(tensors: Sequence[Any]) -> str:
    if not tensors:
        return ""
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()


def is_chat(model_name: str) -> bool:
    """Whether a checkpoint is the -Instruct kind. Both kinds may bring a chat template, so the name decides."""
    return "instruct" in model_name.lower()


def tokenizer_of(processor: Any) -> Any:
    """A processor's tokenizer; a text model has nothing but one."""
    return getattr(processor, "tokenizer", processor)


def split_by_length(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Indices grouped into batches of like length, longest first so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]


def prepare(
    data: DataSet, processor: Any, batch_size: int, chat: bool = False, template: str | None = None
) -> list[Batch]:
    """All of the data as batches in the processor's own form."""
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: at least 1")
    if data.is_text:
        return prepare_text(data, processor, batch_size, template)
    return prepare_speech(data, processor, batch_size, chat, template)


def prepare_speech(
    data: DataSet, processor: Any, batch_size: int, chat: bool = False, template: str | None = None
) -> list[Batch]:
    """Sound and one prompt for all."""
    if not hasattr(processor, "feature_extractor"):
        raise UserError("the model's processor takes no audio: a speech model (Qwen2-Audio) is needed for speech data")
    rate = processor.feature_extractor.sampling_rate
    window = processor.feature_extractor.n_samples
    sounds = []
    for segment in data.segments:
        if segment.audio is None:
            raise UserError(f"data {data.name}: segment {segment.id} has no audio, others have")
        if segment.duration is not None and segment.duration > window / rate:
            raise UserError(_too_long(segment.where, segment.duration, window / rate))
        sound = read_audio(segment.audio, rate, segment.offset, segment.duration)
        if len(sound) > window:
            raise UserError(_too_long(segment.where, len(sound) / rate, window / rate))
        sounds.append(sound)
    text = prompt(data.lang, chat, template)
    tokenizer_of(processor).padding_side = "left"
    batches = []
    for indices in split_by_length([len(sound) for sound in sounds], batch_size):
        inputs = processor(
            text=[text] * len(indices),
            audio=[sounds[index] for index in indices],
            sampling_rate=rate,
            padding=True,
            return_tensors="pt",
        )
        if "input_features" not in inputs:
            raise RuntimeError("the processor returned no input_features: the model would hear nothing")
        batches.append(Batch(indices, dict(inputs)))
    return batches


def _too_long(where: str, seconds: float, window: float) -> str:
    return f"audio {where} lasts {seconds:.1f} s, longer than the model's window of {window:.0f} s: cut it first"


def prepare_text(data: DataSet, processor: Any, batch_size: int, template: str | None = None) -> list[Batch]:
    """Each sentence in its own prompt, in the tokenizer's chat form if it has one."""
    tokenizer = tokenizer_of(processor)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    chat = bool(getattr(tokenizer, "chat_template", None))
    asked = [text_prompt(data.lang, segment.source, chat, template) for segment in data.segments]
    if chat:
        asked = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            )
            for text in asked
        ]
    # A chat template writes its special tokens itself.
    rows = [tokenizer(text, add_special_tokens=not chat).input_ids for text in asked]
    for segment, row in zip(data.segments, rows, strict=True):
        if len(row) >= tokenizer.model_max_length:
            raise UserError(
                f"data {data.name}: {segment.where} has {len(row)} tokens with its prompt, longer than the model's"
                f" window of {tokenizer.model_max_length}"
            )
    tokenizer.padding_side = "left"
    batches = []
    for indices in split_by_length([len(row) for row in rows], batch_size):
        inputs = tokenizer.pad({"input_ids": [rows[index] for index in indices]}, return_tensors="pt")
        batches.append(Batch(indices, {name: inputs[name] for name in ("input_ids", "attention_mask")}))
    return batches
