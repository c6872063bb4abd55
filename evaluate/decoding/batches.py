"""Speech or text, and a prompt → padded batches that a model takes. Made once, used for every candidate.

Batches hold segments of like length, padded on the left. The processor is called with `audio=`, and its features are
checked to be there: later versions silently ignore an unknown keyword, and the model would get no audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compress.errors import UserError
from evaluate.data.audio import read_audio
from evaluate.data.types import DataSet
from evaluate.decoding.chat import chat_forms
from evaluate.decoding.prompts import prompt, text_prompt

FEATURES = ("input_features", "feature_attention_mask")


@dataclass(frozen=True)
class Batch:
    """Indices into the data set, and the tensors that go to `generate`."""

    indices: tuple[int, ...]
    inputs: dict[str, Any]

    @cached_property
    def audio_digest(self) -> str:
        """Of the audio features; empty without any."""
        tensors = [self.inputs[name] for name in FEATURES if name in self.inputs]
        if not tensors:
            return ""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in tensors:
            digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def split_batches(batches: Sequence[Batch], rows: int, without: Collection[int] = ()) -> list[Batch]:
    """The batches, those of more than `rows` rows in pieces; `without` are segments to leave out."""
    pieces = []
    for batch in batches:
        places = [place for place, index in enumerate(batch.indices) if index not in without]
        if len(places) == len(batch.indices) <= rows:
            pieces.append(batch)
            continue
        for start in range(0, len(places), rows):
            some = places[start : start + rows]
            inputs = {name: tensor[some] for name, tensor in batch.inputs.items()}
            pieces.append(Batch(tuple(batch.indices[place] for place in some), inputs))
    return pieces


def pad(rows: Sequence[Sequence[int]], padding: int, side: str = "right") -> tuple[Any, Any]:
    """Rows of token ids as one tensor, [rows, longest row], and its attention mask. `side` is left or right."""
    import torch

    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), padding)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        columns = slice(longest - len(row), None) if side == "left" else slice(len(row))
        ids[index, columns] = torch.tensor(row, dtype=ids.dtype)
        mask[index, columns] = 1
    return ids, mask


def append_completions(inputs: Mapping[str, Any], completions: Sequence[Sequence[int]], padding: int) -> dict[str, Any]:
    """The inputs with a completion (token ids) behind each prompt: prompts padded left, completions padded right."""
    import torch

    ids, mask = pad(completions, padding)
    return {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], ids], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], mask], dim=1),
    }


def is_chat(model_name: str) -> bool:
    """Whether a checkpoint is an -Instruct model: by its name, since base models may have a chat template too."""
    return "instruct" in model_name.lower()


def tokenizer_of(processor: Any) -> Any:
    """A processor's tokenizer; a text model's processor is its tokenizer."""
    return getattr(processor, "tokenizer", processor)


def split_by_length(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Indices in batches of like length, longest first so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]


def prepare(
    data: DataSet, processor: Any, batch_size: int, chat: bool = False, template: str | None = None
) -> list[Batch]:
    """The data as batches, in the processor's own form. `template` replaces the default prompt, see prompts.py."""
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: at least 1")
    if data.is_text:
        return prepare_text(data, processor, batch_size, template)
    return prepare_speech(data, processor, batch_size, chat, template)


def prepare_speech(
    data: DataSet, processor: Any, batch_size: int, chat: bool = False, template: str | None = None
) -> list[Batch]:
    """Audio, and one prompt for all segments."""
    if not hasattr(processor, "feature_extractor"):
        raise UserError("the model's processor takes no audio: a speech model (Qwen2-Audio) is needed for speech data")
    rate = processor.feature_extractor.sampling_rate
    window = processor.feature_extractor.n_samples
    audio = []
    for segment in data.segments:
        if segment.audio is None:
            raise UserError(f"data {data.name}: segment {segment.id} has no audio, others have")
        if segment.duration is not None and segment.duration > window / rate:
            raise UserError(_too_long(segment.where, segment.duration, window / rate))
        samples = read_audio(segment.audio, rate, segment.offset, segment.duration)
        if len(samples) > window:
            raise UserError(_too_long(segment.where, len(samples) / rate, window / rate))
        audio.append(samples)
    text = prompt(data.lang, chat, template)
    tokenizer_of(processor).padding_side = "left"
    batches = []
    for indices in split_by_length([len(samples) for samples in audio], batch_size):
        inputs = processor(
            text=[text] * len(indices),
            audio=[audio[index] for index in indices],
            sampling_rate=rate,
            padding=True,
            return_tensors="pt",
        )
        if "input_features" not in inputs:
            raise RuntimeError("the processor returned no input_features: the model would get no audio")
        batches.append(Batch(indices, dict(inputs)))
    return batches


def _too_long(where: str, seconds: float, window: float) -> str:
    return f"audio {where} lasts {seconds:.1f} s, longer than the model's window of {window:.0f} s: cut it first"


def prepare_text(data: DataSet, processor: Any, batch_size: int, template: str | None = None) -> list[Batch]:
    """A prompt for each sentence, in the tokenizer's chat form if it has one."""
    tokenizer = tokenizer_of(processor)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    chat = bool(getattr(tokenizer, "chat_template", None))
    prompts = [text_prompt(data.lang, segment.source, chat, template) for segment in data.segments]
    if chat:
        prompts = chat_forms(tokenizer, prompts)
    # A chat template adds the special tokens itself.
    rows = [tokenizer(text, add_special_tokens=not chat).input_ids for text in prompts]
    for segment, row in zip(data.segments, rows, strict=True):
        if len(row) >= tokenizer.model_max_length:
            raise UserError(
                f"data {data.name}: {segment.where} has {len(row)} tokens with its prompt, longer than the model's"
                f" window of {tokenizer.model_max_length}"
            )
    batches = []
    for indices in split_by_length([len(row) for row in rows], batch_size):
        ids, mask = pad([rows[index] for index in indices], tokenizer.pad_token_id, "left")
        batches.append(Batch(indices, {"input_ids": ids, "attention_mask": mask}))
    return batches
