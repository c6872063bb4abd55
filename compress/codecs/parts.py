"""The matrices of a unit as the `grid` encoder works on them: grouped by what they share their inputs with.

Weights stay in the checkpoint's dtype; a slab of outputs at a time becomes float32, so that an embedding of
640 million weights passes through a few hundred megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.feedback import Factor, factor, quantise_columns
from compress.codecs.layout import Block

FINEST = 96  # largest code of a column step: 2^-24 of the widest
_SLAB = 1 << 24  # weights in float32 at once
_SAMPLE = 1 << 16  # weights of each part that stand for all of them


@dataclass(frozen=True)
class Part:
    """Matrices that share their inputs. Without a Hessian, one matrix as a single column of all its weights."""

    members: tuple[int, ...]  # which matrices of the unit
    matrices: tuple[Tensor, ...]  # outputs × inputs, any floating-point dtype
    scales: tuple[float, ...]
    block: Block
    factor: Factor | None

    @property
    def numel(self) -> int:
        return sum(matrix.numel() for matrix in self.matrices)

    @property
    def device(self) -> torch.device:
        return self.matrices[0].device

    def thinned(self, every: int) -> Part:
        """Every so-manieth output of each matrix."""
        few = tuple(matrix[::every] for matrix in self.matrices)
        return replace(self, matrices=few, block=replace(self.block, outputs=sum(m.shape[0] for m in few)))

    def slabs(self) -> Iterator[tuple[int, Tensor]]:
        """Stretches of outputs as inputs × outputs at scale 1, each with the place where it begins."""
        at = 0
        for matrix, scale in zip(self.matrices, self.scales, strict=True):
            height = max(1, _SLAB // matrix.shape[1])
            for begin in range(0, matrix.shape[0], height):
                rows = matrix[begin : begin + height].to(torch.float32)
                yield at + begin, (rows / scale if scale else torch.zeros_like(rows)).T
            at += matrix.shape[0]

    def integers(self, step: float, shifts: tuple[float, float], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """The unit on the grid, inputs × outputs. OverflowError when the integers are too wide for the dtype."""
        out = np.empty((self.block.codes.size, self.block.outputs), dtype)
        steps = torch.from_numpy(column_steps(self.block.codes) * np.float32(step)).to(self.device)
        limit = 2.0 ** (8 * out.itemsize - 1)
        for begin, columns in self.slabs():
            if self.factor is None:
                q = torch.round(columns / steps[:, None])
            else:
                order = self.factor.order.to(self.device)
                upper = self.factor.upper.to(self.device)
                ordered = quantise_columns(columns[order], upper, steps[order], shifts)
                q = torch.empty_like(ordered)
                q[order] = ordered
            if not float(q.abs().max()) < limit:
                raise OverflowError
            out[:, begin : begin + q.shape[1]] = q.cpu().numpy()
        return out


def split_parts(weights: Sequence[Tensor], hessians: Sequence[Tensor | None]) -> list[Part]:
    """The parts of a unit, numbered as they come. With no Hessian at all, each matrix is a part of its own."""
    matrices = [weight.detach().reshape(weight.shape[0], -1) for weight in weights]
    if all(hessian is None for hessian in hessians):
        one = np.zeros(1, np.int16)
        flat = [m.reshape(-1, 1) for m in matrices]
        return [Part((i,), (m,), (_scale(m, None),), Block(one, m.shape[0]), None) for i, m in enumerate(flat)]
    groups: list[list[int]] = []
    for index, hessian in enumerate(hessians):
        same = [g for g in groups if hessian is not None and _equal(hessians[g[0]], hessian)]
        if same:
            same[0].append(index)
        else:
            groups.append([index])
    return [_part(group, [matrices[i] for i in group], hessians[group[0]]) for group in groups]


def _part(members: list[int], matrices: list[Tensor], hessian: Tensor | None) -> Part:
    known = None if hessian is None else factor(hessian)
    relative = torch.ones(matrices[0].shape[1]) if known is None else known.relative.cpu()
    codes = (-4 * torch.log2(relative)).round().clamp(0, FINEST).to(torch.int16).numpy()
    block = Block(codes, sum(matrix.shape[0] for matrix in matrices))
    return Part(tuple(members), tuple(matrices), tuple(_scale(m, known) for m in matrices), block, known)


def _equal(a: Tensor | None, b: Tensor) -> bool:
    return a is b or (a is not None and a.shape == b.shape and bool(torch.equal(a, b)))


def _scale(matrix: Tensor, known: Factor | None) -> float:
    """What a matrix is measured by: the size of its outputs on the calibration data, or of its weights."""
    total = 0.0
    damped = None if known is None else known.hessian.to(matrix.device)
    for rows in matrix.split(max(1, _SLAB // matrix.shape[1])):
        values = rows.to(torch.float32)
        total += float((values * (values if damped is None else values @ damped)).sum(dtype=torch.float64))
    size = float(np.sqrt(max(total, 0.0) / matrix.numel()))
    return float(struct.unpack("<f", b"\0\0" + struct.pack("<f", size)[2:])[0])  # as bfloat16, towards zero


def column_steps(codes: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.exp2(codes.astype(np.float32) / -4).astype(np.float32)


def sample(parts: Sequence[Part]) -> NDArray[np.float32]:
    """Weights in units of their column's step, up to a few ten thousand of each part."""
    out = []
    for part in parts:
        steps = torch.from_numpy(column_steps(part.block.codes)).to(part.device)
        for matrix, scale in zip(part.matrices, part.scales, strict=True):
            some = matrix[:: max(1, matrix.numel() // _SAMPLE)].to(torch.float32)
            out.append((some / (scale or 1.0) / steps).reshape(-1).cpu().numpy())
    return np.concatenate(out)
