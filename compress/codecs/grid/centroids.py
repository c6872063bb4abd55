"""Centroids: values decode to the mean of their cell, which lies nearer to zero than its middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from compress.kernels import reference
from compress.kernels.dispatch import quantise

UNIT = 512.0  # a shift is written in units of 1/512 of a step
_SEQUENCE = 64  # weights of a sample in one sequence of the trellis


@dataclass(frozen=True)
class Shifts:
    """How far centroids lie towards zero from their points, in units of 1/512 of a step: of |q| = 1 and of |q| > 1
    with plain rounding; of the points nearest to zero, the next ones and all others with a trellis.
    """

    codes: tuple[int, ...]  # two, or with a trellis five

    @property
    def plain(self) -> tuple[float, float]:
        return self.codes[0] / UNIT, self.codes[1] / UNIT

    @property
    def trellis(self) -> reference.Shifts:
        return self.codes[2] / UNIT, self.codes[3] / UNIT, self.codes[4] / UNIT


def plain_shifts(scaled: NDArray[np.float32]) -> tuple[int, int]:
    """By a sample of weights in steps."""
    size = np.rint(np.abs(scaled))
    excess = size - np.abs(scaled)
    return _code(excess[size == 1]), _code(excess[size > 1])


def trellis_shifts(scaled: NDArray[np.float32]) -> tuple[int, int, int]:
    """By what the trellis makes of a sample."""
    if not scaled.size:
        return 0, 0, 0
    long = min(_SEQUENCE, scaled.size)
    some = scaled[: scaled.size // long * long].reshape(long, -1)
    k = quantise(torch.from_numpy(some), None, torch.ones(long), 0, (0.0, 0.0), None, np.int32)
    value = np.empty(k.shape, np.float32)
    reference.trellis_values(k, (0.0, 0.0, 0.0), np.arange(long), value)
    excess = np.abs(value) - some * np.sign(value)
    return _code(excess[k == 0]), _code(excess[k == -1]), _code(excess[(k != 0) & (k != -1)])


def _code(excess: NDArray[np.float32]) -> int:
    return int(np.clip(round(float(excess.mean()) * UNIT), 0, 255)) if excess.size else 0


def joined(samples: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.empty(0, np.float32), *(some.reshape(-1) for some in samples)])
