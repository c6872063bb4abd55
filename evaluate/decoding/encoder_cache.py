"""Outputs of the audio encoder, kept for candidates that have the same encoder.

The encoder is found by its structure (a stack of layers behind 1-D convolutions), and its `forward` is replaced while
a batch goes through the model; whatever the model does with the outputs is the model's own code. What is kept are the
encoder's last states, not the projector's outputs: they are three times smaller on Qwen2-Audio, projecting them again
costs 1 % of the encoder, and a policy may change the projector freely. Frames after the end of the longest audio in a
batch are not kept: the model masks them out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from evaluate.decoding.batches import Batch
from evaluate.decoding.encoder_frames import run_encoder


@dataclass(frozen=True)
class EncoderOutput:
    """Last states of an encoder for the rows of a batch, in main memory. `frames` is their number with padding."""

    states: Any  # [rows, frames kept, width]
    frames: int
    kind: type  # of the output that the model's own code expects

    @classmethod
    def of(cls, output: Any, mask: Any) -> EncoderOutput:
        """What an encoder returned, without frames that are padding in all rows; `mask` is that of the features."""
        states = output.last_hidden_state
        longest = int(mask.sum(-1).max())
        used = min(states.shape[1], -(-longest * states.shape[1] // mask.shape[1]) + 1)
        # A copy: a slice would keep the whole tensor alive.
        return cls(states[:, :used].detach().to("cpu", copy=True), states.shape[1], type(output))

    @property
    def nbytes(self) -> int:
        return int(self.states.numel() * self.states.element_size())

    def restored(self, device: Any) -> Any:
        """What the encoder itself would have returned, zeros in the frames left out."""
        states = self.states.to(device)
        full = states.new_zeros(states.shape[0], self.frames, states.shape[2])
        full[:, : states.shape[1]] = states
        return self.kind(last_hidden_state=full)


class EncoderCache:
    """Encoder outputs of batches, at most `limit_bytes`, the least recently used dropped first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = self.hits = self.misses = 0
        self._outputs: OrderedDict[tuple[str, ...], EncoderOutput] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> EncoderOutput | None:
        output = self._outputs.get(key)
        if output is None:
            self.misses += 1
            return None
        self.hits += 1
        self._outputs.move_to_end(key)
        return output

    def put(self, key: tuple[str, ...], output: EncoderOutput) -> None:
        """An output larger than the limit is not kept."""
        if output.nbytes > self.limit_bytes:
            return
        if key in self._outputs:
            self.nbytes -= self._outputs.pop(key).nbytes
        self._outputs[key] = output
        self.nbytes += output.nbytes
        while self.nbytes > self.limit_bytes:
            _, oldest = self._outputs.popitem(last=False)
            self.nbytes -= oldest.nbytes

    def clear(self) -> None:
        self._outputs.clear()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._outputs)


class EncoderHook:
    """Replaces an encoder's `forward` inside a `with` block.

    The encoder returns `output` if there is one. Else it runs, and `on_output` is called with what it returns.
    """

    def __init__(
        self, encoder: Any, output: EncoderOutput | None = None, on_output: Callable[[Any], None] | None = None
    ) -> None:
        self.encoder, self.output, self.on_output = encoder, output, on_output

    def __enter__(self) -> None:
        self._replaced = self.encoder.__dict__.get("forward")  # of another hook around this one
        self._original = self.encoder.forward
        self.encoder.forward = self._forward

    def __exit__(self, *_: object) -> None:
        del self.encoder.forward
        if self._replaced is not None:
            self.encoder.forward = self._replaced

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.output is not None:
            features = args[0] if args else kwargs["input_features"]
            return self.output.restored(features.device)
        output = run_encoder(self.encoder, self._original, *args, **kwargs)
        if self.on_output is not None:
            self.on_output(output)
        return output


def cached_encoder(
    model: Any, batch: Batch, cache: EncoderCache | None, encoder_key: str = ""
) -> AbstractContextManager[None]:
    """A `with` block for one pass of the batch: its encoder outputs come from the cache, or go into it.

    `encoder_key` names the encoder's weights. Without a cache the encoder runs each time. With or without, it runs on
    the frames there are (encoder_frames.py). Does nothing without audio, or for a text model.
    """
    if cache is not None and not encoder_key:
        raise ValueError("an encoder cache needs an encoder_key that names the encoder's weights")
    encoder = find_encoder(model) if "feature_attention_mask" in batch.inputs else None
    if encoder is None:
        return nullcontext()
    if cache is None:
        return EncoderHook(encoder)
    key = (encoder_key, batch.audio_digest, str(model.dtype), str(model.device))
    return EncoderHook(encoder, cache.get(key), partial(_keep, cache, key, batch.inputs["feature_attention_mask"]))


def _keep(cache: EncoderCache, key: tuple[str, ...], mask: Any, output: Any) -> None:
    cache.put(key, EncoderOutput.of(output, mask))


def find_encoder(model: Any) -> Any:
    """The module that holds both 1-D convolutions and a stack of layers; None in a text model."""
    from torch import nn

    for module in model.modules():
        children = list(module.children())
        if any(isinstance(c, nn.Conv1d) for c in children) and any(isinstance(c, nn.ModuleList) for c in children):
            return module
    return None


def encoder_key(policy: Any) -> str:
    """Names the encoder's weights under a policy (None: the original): equal where policies treat it alike.

    Levels and calibration alone decide what a unit becomes: a variant does not depend on other units.
    """
    if policy is None:
        return "original"
    levels = [f"{unit}={level}" for unit, level in sorted(policy.levels.items()) if unit.startswith("audio.")]
    dropped = [layer for layer in policy.dropped if layer.startswith("audio.")]
    return f"{policy.model} {policy.calibration} {' '.join(levels)} -{' '.join(dropped)}"
