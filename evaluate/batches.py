"""Speech and prompt → padded batches a model takes. Made once, used for every candidate.

Batches hold segments of like length, left-padded; the processor is asked with `audio=` and its features are
asserted to be there, because later versions ignore a wrong keyword silently and the model hears nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress.errors import Refusal
from evaluate.audio import read_audio
from evaluate.dataset import DataSet
from evaluate.prompts import prompt


@dataclass(frozen=True)
class Batch:
    """Indices into the data set and the tensors that go to `generate`."""

    indices: tuple[int, ...]
    inputs: dict[str, Any]


def is_chat(model_name: str) -> bool:
    """Whether a checkpoint is the -Instruct kind. Both kinds may bring a chat template, so the name decides."""
    return "instruct" in model_name.lower()


def split_by_length(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Indices grouped into batches of like length, longest first so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]


def prepare(data: DataSet, processor: Any, batch_size: int, chat: bool = False) -> list[Batch]:
    """All of the data as batches in the processor's own form."""
    if not hasattr(processor, "feature_extractor"):
        raise Refusal("the model's processor takes no audio: a speech model (Qwen2-Audio) is needed for speech data")
    rate = processor.feature_extractor.sampling_rate
    window = processor.feature_extractor.n_samples
    sounds = [read_audio(segment.audio, rate) for segment in data.segments]
    for segment, sound in zip(data.segments, sounds, strict=True):
        if len(sound) > window:
            raise Refusal(
                f"audio {segment.audio} lasts {len(sound) / rate:.1f} s, longer than the model's window of"
                f" {window / rate:.0f} s: cut it first"
            )
    text = prompt(data.lang, chat)
    processor.tokenizer.padding_side = "left"
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
