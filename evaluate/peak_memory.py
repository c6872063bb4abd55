"""What a GPU needs at the peak of each phase, from a model's config: weights, and what a batch adds to them.

For batches of the longest segments there can be. The shares of a layer are counted from what transformers' layers keep
(tests/evaluate/test_peak_memory.py counts it again on tensors without memory, at the real widths).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress.calibration.calibrate import HESSIAN_SHARE
from compress.model.structure import Structure
from evaluate.decoding.greedy import FREE_SHARE, SLOTS

FLOAT = 4  # bytes
COMPLETION = 64  # tokens of a translation, with its end
TEXT = 32  # tokens of the prompt besides the audio
WINDOW = 3000  # frames of features in 30 s
CONTEXT = 1.0e9  # bytes: CUDA's own, libraries, fragments


@dataclass(frozen=True)
class Stack:
    """The widths of a stack of layers. `steps` are positions of one row; `mask` the bytes of its attention mask."""

    layers: int
    width: int
    inner: int
    steps: int
    itemsize: int

    @property
    def inputs(self) -> int:
        """Bytes of what all layers were given, for one row: a checkpoint keeps only that."""
        return self.layers * self.steps * self.width * self.itemsize

    @property
    def mask(self) -> int:
        return self.steps * self.steps * self.itemsize


@dataclass(frozen=True)
class Shapes:
    """What the formulas need of a model."""

    weights: int  # bytes
    itemsize: int
    vocabulary: int
    text: Stack
    audio: Stack | None
    column_bytes: int  # keys and values of a token
    hessians: int  # bytes of all of them
    largest_unit: int  # weights
    largest_input: int  # of a matrix, not counting an embedding's

    @property
    def saved(self) -> int:
        """Bytes that a backward pass keeps of one row in the layer that keeps most: five 32-bit vectors a position and
        three of the inner width (a gated MLP), in the encoder three 32-bit, two plain, and one of the inner width."""
        text = self.text.steps * (5 * FLOAT * self.text.width + 3 * self.itemsize * self.text.inner)
        if self.audio is None:
            return text
        audio = self.audio
        states = 3 * FLOAT * audio.width + self.itemsize * (2 * audio.width + audio.inner)
        return max(text, audio.steps * states)

    @property
    def forward(self) -> int:
        """Bytes of one row in a layer of a pass without gradients: the widest moment, in its MLP or its attention."""
        text = self.text.steps * self.itemsize * (4 * self.text.width + 3 * self.text.inner) + self.text.mask
        if self.audio is None:
            return text
        audio = self.audio
        return max(text, audio.steps * self.itemsize * (4 * audio.width + 2 * audio.inner) + 2 * audio.mask)


def shapes(config: Any, structure: Structure, itemsize: int) -> Shapes:
    """Of a transformers config and the structure of its model."""
    text = config.get_text_config()
    audio = getattr(config, "audio_config", None)
    frames = (getattr(audio, "max_source_positions", None) or WINDOW // 2) if audio is not None else 0
    steps = TEXT + COMPLETION + frames // 2
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    inputs = [
        [shape[1] if len(shape) == 2 else shape[1] * shape[2] for shape in unit.shapes if len(shape) in (2, 3)]
        for unit in structure.units.values()
        if unit.kind != "embedding"
    ]
    return Shapes(
        weights=structure.parameters * itemsize,
        itemsize=itemsize,
        vocabulary=structure.vocabulary,
        text=Stack(text.num_hidden_layers, text.hidden_size, inner, steps, itemsize),
        audio=None
        if audio is None
        else Stack(audio.encoder_layers, audio.d_model, audio.encoder_ffn_dim, frames, itemsize),
        column_bytes=text.num_hidden_layers * 2 * heads * head_width * itemsize,
        hessians=sum(FLOAT * width**2 for widths in inputs for width in set(widths)),
        largest_unit=max(unit.weights for unit in structure.units.values()),
        largest_input=max(width for widths in inputs for width in widths),
    )


def peaks(shape: Shapes, rows: int, max_new_tokens: int, gpu: float) -> dict[str, float]:
    """Bytes at the peak of each phase, in the order of a run, on a GPU of `gpu` bytes, in batches of `rows`."""
    base = shape.weights + CONTEXT
    logits = rows * COMPLETION * shape.vocabulary
    forward = base + rows * shape.forward
    prompt = rows * shape.text.steps * shape.column_bytes
    free = max(gpu - base, 0.0)
    columns = shape.text.steps - COMPLETION + max_new_tokens
    slots = min(FREE_SHARE * free, SLOTS["cuda"] * columns * shape.column_bytes)
    checkpoints = rows * (shape.text.inputs + (shape.audio.inputs if shape.audio else 0))
    width = shape.largest_input
    return {
        "translate": forward + prompt + slots,
        "divergence": forward + logits * (shape.itemsize + 3 * FLOAT),
        "importance": base + checkpoints + 2 * rows * shape.saved + logits * (shape.itemsize + 4 * FLOAT),
        "calibrate": forward + min(shape.hessians, HESSIAN_SHARE["cuda"] * free) + 3 * 8 * width**2,
        # Statistics and their factor in 64 bits; the weights and what the encoder makes of them in 32.
        "encode": base + 4 * 8 * width**2 + 6 * FLOAT * shape.largest_unit,
    }
