"""What an audio tower heard of the training speech, kept while the tower stays as it is: it is most of a small step.

A teacher's tower never changes; a student's does not where it is not trained. Batches then carry the tower's states
beside, or instead of, the sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from compress.recovery.batches import output_of, placed
from evaluate.decoding.encoder_cache import EncoderHook, EncoderOutput, find_encoder
from search.recovery import data as lessons_

BY_STUDENT, BY_TEACHER = "heard", "heard_by_teacher"
SOUND = "input_features"
Batches = list[dict[str, Tensor]]
MOST = 2_000_000_000  # bytes kept of one data set by one tower


@dataclass(frozen=True)
class Speech:
    """States of a tower for every batch of a data set."""

    states: tuple[Tensor, ...]  # [rows, frames kept, width]
    frames: int
    kind: type


Observation = tuple[Speech, ...]


class Listener(nn.Module):
    """A model whose tower, asked for a batch that has its states, answers those."""

    def __init__(self, model: Any, name: str, known: Observation | None) -> None:
        super().__init__()
        self.model, self.name, self.speech = model, name, known[0] if known else None
        self.dtype = getattr(model, "dtype", torch.float32)

    def forward(self, **inputs: Any) -> Any:
        found = {name: inputs.pop(name, None) for name in (BY_STUDENT, BY_TEACHER)}[self.name]
        if found is None or self.speech is None:
            return self.model(**inputs)
        with EncoderHook(find_encoder(self.model), EncoderOutput(found, self.speech.frames, self.speech.kind)):
            return self.model(**inputs)


class _Enough(Exception):
    """The tower has heard; what comes after it is not wanted."""


def listen(model: Any, batches: Sequence[Mapping[str, Tensor]]) -> Speech | None:
    """The tower's states of all batches; None where it has no tower or they would be too many."""
    tower = find_encoder(model)
    if tower is None or SOUND not in batches[0]:
        return None
    found: list[Tensor] = []
    told: dict[str, Any] = {}

    def keep(output: Any) -> None:
        told["states"], told["kind"] = output.last_hidden_state, type(output)
        raise _Enough

    for batch in batches:
        try:
            with torch.no_grad(), EncoderHook(tower, on_output=keep):
                output_of(model, placed(batch, model))
        except _Enough:
            pass
        states, mask = told["states"], batch["feature_attention_mask"]
        used = min(states.shape[1], -(-int(mask.sum(-1).max()) * states.shape[1] // mask.shape[1]) + 1)
        found.append(states[:, :used].detach().to("cpu", copy=True))
        if found[-1].nbytes * len(batches) > 2 * MOST or sum(each.nbytes for each in found) > MOST:
            return None
    return Speech(tuple(found), told["states"].shape[1], told["kind"])


def known(model: Any, *sets: Sequence[Mapping[str, Tensor]]) -> Observation | None:
    """The same of several sets of batches, remembered by what the tower is and what it hears."""
    if find_encoder(model) is None:
        return None
    tower, found = digest(model), []
    for batches in sets:
        sound = lessons_.digest_of(batches, SOUND)
        speech: Speech | None = (
            lessons_.PREPARED.get((tower, sound), partial(listen, model, batches)) if sound else None
        )
        if speech is None:
            return None
        found.append(speech)
    return tuple(found)


def with_states(sets: Sequence[Batches], known: Observation, name: str) -> list[Batches]:
    return [
        [{**batch, name: states} for batch, states in zip(batches, speech.states, strict=True)]
        for batches, speech in zip(sets, known, strict=True)
    ]


def without_sound(sets: Sequence[Batches]) -> list[Batches]:
    """The sound's shape alone, which a model still looks at."""
    return [[{**b, SOUND: b[SOUND].new_zeros(1).expand(b[SOUND].shape)} for b in batches] for batches in sets]


def trains(model: Any, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether any of these parameters is in the model's tower."""
    tower, mine = find_encoder(model), {id(parameter) for parameter in parameters}
    return tower is not None and any(id(parameter) in mine for parameter in tower.parameters())


def digest(model: Any) -> str:
    """Of a tower's values: equal towers hear the same. Empty without a tower."""
    tower = find_encoder(model)
    if tower is None:
        return ""
    found = blake2b(digest_size=16)
    for name, value in tower.state_dict().items():
        found.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
