"""Runs an audio encoder on the frames there are, not on the 30 seconds that it pads every segment to.

Frames after a segment's end are masked in the attention, so the states before it do not depend on them: a batch of
segments of seven seconds costs a quarter. The states agree with those of the whole window but for rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

KNOWN_ENCODERS = ("Qwen2AudioEncoder",)  # classes that add all positions to all frames, and get a mask of the frames
MULTIPLE = 8  # frames are kept up to a multiple of it: kernels like that, and pooling in pairs needs it


def frames_needed(encoder: Any, mask: Any) -> int | None:
    """Frames behind the convolutions that hold speech, with a margin; None where the encoder has to see the window.

    `mask` is the encoder's own, [rows, 1, frames, frames], 0 (or True) where there is speech.
    """
    if type(encoder).__name__ not in KNOWN_ENCODERS or not isinstance(mask, Tensor) or mask.dim() != 4:
        return None
    speech = mask[:, 0, 0] if mask.dtype == torch.bool else mask[:, 0, 0] == 0
    longest = int(speech.sum(-1).max())
    # The last frame that is kept sees the cut through its convolution: it must be one without speech.
    needed = -(-(longest + 1) // MULTIPLE) * MULTIPLE
    return needed if needed < mask.shape[-1] else None


def run_encoder(encoder: Any, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`forward` of the encoder, on fewer frames if that is possible; states behind them are zeros."""
    mask: Any = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    needed = frames_needed(encoder, mask)
    if needed is None:
        return forward(*args, **kwargs)
    features = kwargs.pop("input_features") if "input_features" in kwargs else args[0]
    stride = features.shape[-1] // mask.shape[-1]
    kwargs["attention_mask"] = mask[:, :, :needed, :needed]
    with window_of(encoder, needed):
        output = forward(features[..., : needed * stride], *args[2:], **kwargs)
    states = output.last_hidden_state
    full = states.new_zeros(states.shape[0], states.shape[1] * mask.shape[-1] // needed, states.shape[2])
    full[:, : states.shape[1]] = states
    return type(output)(last_hidden_state=full)


@contextlib.contextmanager
def window_of(encoder: Any, frames: int) -> Iterator[None]:
    """Inside the block the encoder takes windows of so many frames behind its convolutions."""
    positions, whole = encoder.embed_positions, encoder.config.max_source_positions
    encoder.embed_positions = nn.Embedding.from_pretrained(positions.weight[:frames])
    encoder.config.max_source_positions = frames
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = positions, whole
