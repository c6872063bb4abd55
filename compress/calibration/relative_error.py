"""How much noise a level adds to a unit's outputs, relative to them: what stands in for KL where none was measured."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from compress.codecs.statistics import Statistics
from compress.policy.variant import UnitEncoder

SAMPLE = 1 << 22  # weights of a matrix whose noise stands for that of all, and weights in float32 at once


class RelativeError:
    """Σ g·(ΔW H ΔWᵀ) / Σ g·(W H Wᵀ) over the outputs of a unit, at one level after another.

    H is the calibration's second moment of the inputs and g the importance of an output. Without a calibration both
    are 1: then it is the relative error of the weights. Computed where the encoder's weights are. The noise of a large
    matrix is taken of some outputs, drawn once: the products would take as long as encoding, and outputs are alike.
    """

    def __init__(self, encoder: UnitEncoder) -> None:
        self._encoder = encoder

    def of(self, level: str) -> float:
        encoder, noise = self._encoder, 0.0
        decoded = encoder.decode(encoder.payload(level), level, torch.float32)
        for index, (original, rows, known, share) in enumerate(self._samples):
            weight, decoded[index] = decoded[index], torch.empty(0)
            # A pruned FFN has fewer rows or columns: there all of the weight counts as error.
            pruned = weight.shape != encoder.weights[index].shape
            noise += energy(original if pruned else weight.flatten(1)[rows].float() - original, known) / share
        return max(noise, 0.0) / max(self._energy, 1e-30)

    @cached_property
    def _samples(self) -> list[tuple[Tensor, Tensor, Statistics | None, float]]:
        """Of each matrix: outputs in float32, which they are, the statistics of these, and their share of all."""
        samples = []
        for weight, known in zip(self._encoder.weights, self._encoder.known, strict=True):
            count = max(1, len(weight) * SAMPLE // max(weight.numel(), SAMPLE))
            drawn = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))[:count]
            rows = drawn.sort().values.to(weight.device)
            of_rows = None if known is None else known.of(rows)
            samples.append((weight.flatten(1)[rows].float(), rows, of_rows, count / len(weight)))
        return samples

    @cached_property
    def _energy(self) -> float:
        """Of the original's outputs, all of them: a few may hold most of it."""
        total = 0.0
        for weight, known in zip(self._encoder.weights, self._encoder.known, strict=True):
            height = max(1, SAMPLE * len(weight) // weight.numel())
            for begin in range(0, len(weight), height):
                rows = slice(begin, begin + height)
                total += energy(weight[rows].flatten(1).float(), None if known is None else known.of(rows))
        return total


def energy(matrix: Tensor, known: Statistics | None) -> float:
    """Σ g·(M H Mᵀ) over outputs."""
    if known is None:
        return float(matrix.square().sum())
    if known.diagonal is not None:
        outputs = matrix.square() @ known.diagonal
    else:
        outputs = ((matrix @ known.hessian) * matrix).sum(dim=1)
    return float((outputs if known.importance is None else outputs * known.importance).sum())
