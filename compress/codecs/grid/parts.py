"""The matrices of a unit as the `grid` encoder works on them: grouped by what they share their inputs with.

Weights stay in the checkpoint's dtype; a slab of outputs at a time becomes float32, so that an embedding of
640 million weights passes through a few hundred megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.grid.centroids import Shifts
from compress.codecs.grid.feedback import HessianFactor, factor, stepwise
from compress.codecs.grid.layout import ColumnBlock
from compress.codecs.grid.steps import step_codes, steps_of
from compress.codecs.statistics import Statistics
from compress.kernels.dispatch import quantise

FLOOR = 2.0  # added to every importance, in shares of the mean: gradients on a little speech say only so much
WIDE = 0.3  # columns whose weights are smaller than this share of a step are left to plain rounding
_SLAB = 1 << 24  # weights in float32 at once
_SAMPLE = 1 << 16  # weights of each part that stand for all of them


@dataclass(frozen=True)
class MatrixGroup:
    """Matrices that share their inputs. Without a Hessian, one matrix as a single column of all its weights."""

    members: tuple[int, ...]  # which matrices of the unit
    matrices: tuple[Tensor, ...]  # outputs × inputs, any floating-point dtype
    scales: tuple[float, ...]
    block: ColumnBlock
    factor: HessianFactor | None

    @property
    def numel(self) -> int:
        return sum(matrix.numel() for matrix in self.matrices)

    @property
    def device(self) -> torch.device:
        return self.matrices[0].device

    @cached_property
    def largest(self) -> float:
        """Root mean square of the weights at scale 1, of the matrix where that is largest."""
        sizes = (_size(m) / scale for m, scale in zip(self.matrices, self.scales, strict=True) if scale)
        return max(sizes, default=0.0)

    def thinned(self, every: int) -> MatrixGroup:
        """One of so many outputs of each matrix, from the smallest to the largest: as a whole they cost the same."""
        some = []
        for matrix, steps in zip(self.matrices, self.row_steps(), strict=True):
            if matrix.shape[1] == 1:  # no outputs, but all weights of a matrix as one column
                order = torch.arange(len(matrix), device=self.device)
            else:
                sizes = torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32)
                order = torch.argsort(sizes if steps is None else sizes / steps[:, 0], stable=True)
            some.append(order[every // 2 :: every].sort().values)
        few = tuple(matrix[indices] for matrix, indices in zip(self.matrices, some, strict=True))
        rows = None
        if self.block.rows is not None:
            rows = np.concatenate([r[i.cpu().numpy()] for r, i in zip(self._rows(), some, strict=True)])
        return replace(self, matrices=few, block=ColumnBlock(self.block.codes, sum(m.shape[0] for m in few), rows))

    def _rows(self) -> list[NDArray[np.int16]]:
        """Codes of the outputs of each matrix."""
        assert self.block.rows is not None
        return np.split(self.block.rows, np.cumsum([m.shape[0] for m in self.matrices])[:-1])

    def row_steps(self) -> list[Tensor | None]:
        """Steps of the outputs of each matrix, relative to the widest, outputs × 1."""
        if self.block.rows is None:
            return [None] * len(self.matrices)
        return [torch.from_numpy(steps_of(codes)).to(self.device)[:, None] for codes in self._rows()]

    def slabs(self) -> Iterator[tuple[int, Tensor]]:
        """Stretches of outputs, in the order of their codes, as inputs × outputs at scale and row step 1; each with the
        place where it begins."""
        heights = [matrix.shape[0] for matrix in self.matrices]
        # A scale of 0 stands for a matrix of zeros.
        scales = np.repeat([scale or np.inf for scale in self.scales], heights).astype(np.float32)
        steps = None if self.block.rows is None else steps_of(self.block.rows)
        order = self.block.row_order
        height = max(1, _SLAB // self.block.codes.size)
        for begin in range(0, self.block.outputs, height):
            mine = np.arange(begin, min(begin + height, self.block.outputs))
            mine = mine if order is None else order[mine]
            rows = self._outputs(mine).to(torch.float32)
            rows = rows / torch.from_numpy(scales[mine]).to(self.device)[:, None]
            if steps is not None:
                rows = rows / torch.from_numpy(steps[mine]).to(self.device)[:, None]
            yield begin, rows.T

    def _outputs(self, which: NDArray[np.int64]) -> Tensor:
        """Some outputs of the matrices, numbered through."""
        if len(self.matrices) == 1 and len(which) == self.block.outputs and self.block.row_order is None:
            return self.matrices[0]
        out = self.matrices[0].new_empty(len(which), self.block.codes.size)
        first = 0
        for matrix in self.matrices:
            places = np.flatnonzero((which >= first) & (which < first + matrix.shape[0]))
            chosen = torch.from_numpy(which[places] - first).to(self.device)
            out[torch.from_numpy(places).to(self.device)] = matrix[chosen]
            first += matrix.shape[0]
        return out

    def plain_columns(self, step: float) -> int:
        """How many columns, those with the widest steps, a trellis leaves to plain rounding.

        There nearly all integers are 0, and with a trellis that is a quarter of a step off.
        """
        return int((self.largest < WIDE * step * steps_of(self.block.codes)).sum())

    def integers(
        self, step: float, shifts: Shifts, dtype: type[np.signedinteger[Any]], plain: int | None = None
    ) -> NDArray[np.signedinteger[Any]]:
        """The unit on the grid, inputs × outputs, both in the order of their codes. OverflowError when the integers are
        too wide for the dtype.

        All but `plain` columns, those with the widest steps, with a trellis; None: no trellis.
        """
        out = np.empty((self.block.codes.size, self.block.outputs), dtype)
        steps = torch.from_numpy(steps_of(self.block.codes) * np.float32(step)).to(self.device)
        trellis, places = None if plain is None else shifts.trellis, None
        if self.factor is not None:
            order, upper = self.factor.order.to(self.device), self.factor.upper.to(self.device)
            # Where the columns of the codes' order are in the factor's; with a trellis the two are the same.
            places = np.argsort(order.cpu().numpy())[self.block.column_order]
            places = None if np.array_equal(places, np.arange(places.size)) else places
        for begin, columns in self.slabs():
            if self.factor is None:  # then all columns have one step
                q = quantise(columns, None, steps, plain, shifts.plain, trellis, dtype)
            else:
                q = quantise(columns.contiguous()[order], upper, steps[order], plain, shifts.plain, trellis, dtype)
            out[:, begin : begin + columns.shape[1]] = q if places is None else q[places]
        return out


def split_parts(
    weights: Sequence[Tensor], known: Sequence[Statistics | None], trellised: bool = False
) -> list[MatrixGroup]:
    """The parts of a unit, numbered as they come. With nothing known, each matrix is a part of its own.

    For a trellis matrices keep their columns, in an order that the codes of their steps tell.
    """
    matrices = [weight.detach().reshape(weight.shape[0], -1) for weight in weights]
    if all(statistics is None for statistics in known) and not trellised:
        one = np.zeros(1, np.int16)
        flat = [m.reshape(-1, 1) for m in matrices]
        return [
            MatrixGroup((i,), (m,), (_bf16(_size(m)),), ColumnBlock(one, m.shape[0]), None) for i, m in enumerate(flat)
        ]
    groups: list[list[int]] = []
    for index, statistics in enumerate(known):
        same = [g for g in groups if _share(known[g[0]], statistics)]
        if same:
            same[0].append(index)
        else:
            groups.append([index])
    every = all(statistics is not None and statistics.importance is not None for statistics in known)
    return [_part(group, [matrices[i] for i in group], [known[i] for i in group], every, trellised) for group in groups]


def _part(
    members: list[int], matrices: list[Tensor], known: list[Statistics | None], every: bool, trellised: bool
) -> MatrixGroup:
    hessian_factor = None if known[0] is None else (stepwise if trellised else factor)(known[0].hessian)
    relative = torch.ones(matrices[0].shape[1]) if hessian_factor is None else hessian_factor.relative.cpu()
    codes = step_codes(relative)
    scales, rows = [], []
    for matrix, statistics in zip(matrices, known, strict=True):
        if every:
            assert statistics is not None
            assert hessian_factor is not None
            mattering = importance_root(statistics)
            rows.append(step_codes(mattering.min() / mattering))
            scales.append(_bf16(hessian_factor.widest / float(mattering.min())) if bool(matrix.any()) else 0.0)
        else:
            scales.append(_bf16(_output_size(matrix, hessian_factor)))
    block = ColumnBlock(codes, sum(m.shape[0] for m in matrices), np.concatenate(rows) if rows else None)
    return MatrixGroup(tuple(members), tuple(matrices), tuple(scales), block, hessian_factor)


def importance_root(statistics: Statistics) -> Tensor:
    """How finely each output should be written: the root of its importance, with a floor under all."""
    assert statistics.importance is not None
    value = statistics.importance.to(torch.float64).cpu().clamp(min=0)
    mean = float(value.mean())
    return (value + FLOOR * mean).sqrt() if mean > 0 else torch.ones_like(value)


def _share(a: Statistics | None, b: Statistics | None) -> bool:
    if a is None or b is None:
        return False
    return a.hessian is b.hessian or (a.hessian.shape == b.hessian.shape and bool(torch.equal(a.hessian, b.hessian)))


def _size(matrix: Tensor) -> float:
    """Root mean square of the weights."""
    parts = matrix.split(max(1, _SLAB // matrix.shape[1]))
    total = sum(float(p.to(torch.float32).square().sum(dtype=torch.float64)) for p in parts)
    return float(np.sqrt(total / matrix.numel()))


def _output_size(matrix: Tensor, known: HessianFactor | None) -> float:
    """Size of the outputs on the calibration data, times the widest step: all matrices then lose the same share.

    Of a large matrix a few million weights tell it.
    """
    if known is None:
        return _size(matrix)
    some = matrix[:: -(-matrix.numel() // _SLAB * 4)] if matrix.numel() > _SLAB // 4 else matrix
    values = some.to(torch.float32)
    total = float((values * (values @ known.hessian.to(matrix.device))).sum(dtype=torch.float64))
    return float(np.sqrt(max(total, 0.0) / some.numel())) * float(known.upper.diagonal().max())


def _bf16(size: float) -> float:
    """The bfloat16 next to a value towards zero, which is what the payload will say."""
    return float(struct.unpack("<f", b"\0\0" + struct.pack("<f", size)[2:])[0])


def sample(part: MatrixGroup) -> list[NDArray[np.float32]]:
    """Weights in units of their own step, some outputs of each matrix × inputs: up to a few ten thousand weights."""
    out = []
    columns = torch.from_numpy(steps_of(part.block.codes)).to(part.device)
    for matrix, scale, steps in zip(part.matrices, part.scales, part.row_steps(), strict=True):
        every = max(1, matrix.numel() // _SAMPLE)
        some = matrix[::every].to(torch.float32) / (scale or 1.0) / columns
        out.append((some if steps is None else some / steps[::every]).cpu().numpy())
    return out


def flat_sample(parts: Sequence[MatrixGroup]) -> NDArray[np.float32]:
    return np.concatenate([some.reshape(-1) for part in parts for some in sample(part)])
