"""The integers of a `grid@R` payload taken out and put back, for training that moves them from cell to cell.

Steps, scales and centroids stay as they were written; only the integers change, and with them, by a little, the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from compress.codecs.base import Shape, flat_shape
from compress.codecs.grid.grid import has_trellis
from compress.codecs.grid.layout import encode_streams
from compress.codecs.grid.payload import CALIBRATED, HEAD, GridPayload, read_payload
from compress.codecs.grid.steps import steps_of
from compress.codecs.length_prefix import take_varint
from compress.errors import UserError


def has_integers(level: str) -> bool:
    """Whether a unit at this level has integers that can be moved one by one."""
    return level.startswith("grid@") and not has_trellis(level)


@dataclass(frozen=True)
class QuantizedIntegers:
    """One matrix: its integers, the step at each place, and how far centroids lie from the middle of their cells."""

    integers: Tensor  # float32, of the matrix's shape
    steps: Tensor
    shifts: tuple[float, float]  # of integers of magnitude 1, and of larger ones

    def values(self, integers: Tensor) -> Tensor:
        """What integers decode to, in steps."""
        sign, first = integers.sign(), self.shifts[0] - self.shifts[1]
        return integers - sign * self.shifts[1] - (integers.abs() == 1) * sign * first


def quantized_integers(payload: bytes, shapes: Sequence[Shape]) -> list[QuantizedIntegers]:
    """The matrices of a unit; `lattice.steps * lattice.values(lattice.integers)` is what decoding gives."""
    read = read_payload(payload, shapes)
    if read.plain is not None:
        raise UserError("integers of a trellis cannot be moved one by one: each tells the signs of those after it")
    of_matrices: list[QuantizedIntegers | None] = [None] * len(shapes)
    for group, block in enumerate(read.blocks):
        q = read.integers(group).astype(np.float32)
        steps = np.ones_like(q)
        if read.by_column:
            steps *= np.float32(read.step) * steps_of(block.codes)[:, None]
        if block.rows is not None:
            steps *= steps_of(block.rows)[None, :]
        for i, part in _members(read, group, shapes):
            scale = read.scales[i] if read.by_column else read.scales[i] * read.step
            pair = [
                torch.from_numpy(np.ascontiguousarray(a[:, part].T if read.by_column else a[:, part]))
                for a in (q, steps)
            ]
            of_matrices[i] = QuantizedIntegers(
                pair[0].reshape(shapes[i]), (pair[1] * scale).reshape(shapes[i]), read.shifts.plain
            )
    assert all(each is not None for each in of_matrices)
    return [each for each in of_matrices if each is not None]


def with_integers(payload: bytes, shapes: Sequence[Shape], integers: Sequence[Tensor]) -> bytes:
    """The payload with other integers in the same places."""
    read = read_payload(payload, shapes)
    arrays = []
    for group in range(len(read.blocks)):
        array = np.zeros(read.sorted_integers[group].shape, np.int32)
        for i, part in _members(read, group, shapes):
            q = integers[i].detach().cpu().numpy().astype(np.int32)
            array[:, part] = q.reshape(shapes[i][0], -1).T if read.by_column else q.reshape(1, -1)
        arrays.append(array)
    small = all(np.abs(array).max(initial=0) < 1 << 15 for array in arrays)
    in_order = [b.sorted(a.astype(np.int16 if small else np.int32)) for b, a in zip(read.blocks, arrays, strict=True)]
    way, streams = encode_streams(read.blocks, in_order)
    _, *head = HEAD.unpack_from(payload)
    flag = CALIBRATED if read.by_column else 0
    return HEAD.pack(way | flag, *head) + payload[HEAD.size : _side_end(payload, read, len(shapes))] + streams


def _members(read: GridPayload, group: int, shapes: Sequence[Shape]) -> list[tuple[int, slice]]:
    """The matrices of a group and their outputs in its block."""
    slices, begin = [], 0
    for i in (i for i in range(len(shapes)) if read.groups[i] == group):
        width = flat_shape(shapes[i])[0] if read.by_column else prod(shapes[i])
        slices.append((i, slice(begin, begin + width)))
        begin += width
    return slices


def _side_end(payload: bytes, read: GridPayload, matrices: int) -> int:
    """Where the streams begin."""
    at = HEAD.size + 2 * matrices
    if read.by_column:
        at += matrices
        for _ in range(2):  # codes of the columns, codes of the outputs
            length, at = take_varint(payload, at)
            at += length
    return at
