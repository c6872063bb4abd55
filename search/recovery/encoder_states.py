"""Outputs of the audio encoder on the training speech, kept while the encoder stays as it is: most of a small step.

A teacher's encoder never changes; a student's does not where it is not trained. Batches then carry the encoder's states
beside, or instead of, the audio features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from compress.recovery.batches import output_of, placed
from evaluate.decoding.encoder_cache import EncoderHook, EncoderOutput, find_encoder
from search.recovery import data as training_data

OF_STUDENT, OF_TEACHER = "encoder_states", "teacher_encoder_states"  # keys of a batch
FEATURES = "input_features"
Batches = list[dict[str, Tensor]]
Outputs = tuple[EncoderOutput, ...]  # one a batch
MOST_BYTES = 2_000_000_000  # kept of one data set by one encoder


class WithEncoderStates(nn.Module):
    """A model whose encoder returns the states that a batch carries, and runs where it carries none."""

    def __init__(self, model: Any, key: str, outputs: Sequence[Outputs] | None) -> None:
        super().__init__()
        self.model, self.key = model, key
        self.output = outputs[0][0] if outputs else None  # for frames and kind, which all have in common
        self.dtype = getattr(model, "dtype", torch.float32)

    def forward(self, **inputs: Any) -> Any:
        states = {key: inputs.pop(key, None) for key in (OF_STUDENT, OF_TEACHER)}[self.key]
        if states is None or self.output is None:
            return self.model(**inputs)
        with EncoderHook(find_encoder(self.model), replace(self.output, states=states)):
            return self.model(**inputs)


class _EncoderDone(Exception):
    """Ends a forward pass after the encoder: what comes after it is not needed."""


def encode(model: Any, batches: Sequence[Mapping[str, Tensor]]) -> Outputs | None:
    """The encoder's outputs on all batches; None without an encoder, or if they would be too large."""
    encoder = find_encoder(model)
    if encoder is None or FEATURES not in batches[0]:
        return None
    outputs: list[EncoderOutput] = []
    for batch in batches:

        def keep(output: Any, mask: Tensor = batch["feature_attention_mask"]) -> None:
            outputs.append(EncoderOutput.of(output, mask))
            raise _EncoderDone

        try:
            with torch.no_grad(), EncoderHook(encoder, on_output=keep):
                output_of(model, placed(batch, model))
        except _EncoderDone:
            pass
        if outputs[-1].nbytes * len(batches) > 2 * MOST_BYTES or sum(each.nbytes for each in outputs) > MOST_BYTES:
            return None
    return tuple(outputs)


def cached_outputs(model: Any, *sets: Sequence[Mapping[str, Tensor]]) -> list[Outputs] | None:
    """`encode` of several sets of batches, remembered by the encoder's weights and the audio features."""
    if find_encoder(model) is None:
        return None
    encoder, results = digest(model), []
    for batches in sets:
        features = training_data.digest_of(batches, FEATURES)
        outputs: Outputs | None = (
            training_data.PREPARED.get((encoder, features), partial(encode, model, batches)) if features else None
        )
        if outputs is None:
            return None
        results.append(outputs)
    return results


def with_states(sets: Sequence[Batches], outputs: Sequence[Outputs], key: str) -> list[Batches]:
    return [
        [{**batch, key: output.states} for batch, output in zip(batches, of_set, strict=True)]
        for batches, of_set in zip(sets, outputs, strict=True)
    ]


def without_features(sets: Sequence[Batches]) -> list[Batches]:
    """Only the shape of the audio features, which a model still looks at."""
    return [[{**b, FEATURES: b[FEATURES].new_zeros(1).expand(b[FEATURES].shape)} for b in batches] for batches in sets]


def encoder_trains(model: Any, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether any of these parameters is in the model's encoder."""
    encoder, trained = find_encoder(model), {id(parameter) for parameter in parameters}
    return encoder is not None and any(id(parameter) in trained for parameter in encoder.parameters())


def digest(model: Any) -> str:
    """Of the encoder's weights; empty without an encoder."""
    encoder = find_encoder(model)
    if encoder is None:
        return ""
    state = blake2b(digest_size=16)
    for name, value in encoder.state_dict().items():
        state.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        state.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()
