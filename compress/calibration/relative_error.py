"""How much noise a level adds to a unit's outputs, relative to them: what stands in for KL where none was measured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from compress.codecs.statistics import Statistics
from compress.policy.variant import UnitEncoder

_SLAB = 1 << 24  # weights in float32 at once


class RelativeError:
    """Σ g·(ΔW H ΔWᵀ) / Σ g·(W H Wᵀ) over the outputs of a unit, at one level after another.

    H is the calibration's second moment of the inputs and g the importance of an output. Without a calibration both
    are 1: then it is the relative error of the weights. Computed where the encoder's weights are.
    """

    def __init__(self, encoder: UnitEncoder) -> None:
        self._encoder = encoder

    def of(self, level: str) -> float:
        encoder, noise = self._encoder, 0.0
        decoded = encoder.decode(encoder.payload(level), level, torch.float32)
        for index, (original, known) in enumerate(zip(encoder.weights, encoder.known, strict=True)):
            weight, decoded[index] = decoded[index], torch.empty(0)
            # A pruned FFN has fewer rows or columns: there all of the weight counts as error.
            pruned = weight.shape != original.shape
            for rows in _slabs(original):
                values = original.flatten(1)[rows].float()
                error = values if pruned else weight.flatten(1)[rows].float() - values
                noise += energy(error, known, rows)
        return max(noise, 0.0) / max(self._energy, 1e-30)

    @cached_property
    def _energy(self) -> float:
        """Of the original's outputs."""
        matrices = zip(self._encoder.weights, self._encoder.known, strict=True)
        return sum(energy(m.flatten(1)[rows].float(), known, rows) for m, known in matrices for rows in _slabs(m))


def _slabs(matrix: Tensor) -> Iterator[slice]:
    """Stretches of outputs that bound the memory."""
    height = max(1, _SLAB * len(matrix) // matrix.numel())
    for begin in range(0, len(matrix), height):
        yield slice(begin, begin + height)


def energy(matrix: Tensor, known: Statistics | None, rows: slice = slice(None)) -> float:
    """Σ g·(M H Mᵀ) over outputs; `rows` says which of all outputs they are."""
    if known is None:
        return float(matrix.square().sum())
    if known.diagonal is not None:
        outputs = matrix.square() @ known.diagonal
    else:
        outputs = ((matrix @ known.hessian) * matrix).sum(dim=1)
    return float((outputs if known.importance is None else outputs * known.importance[rows]).sum())
