"""What `grid` writes, taken apart and checked: head, scales, groups, codes of the steps, centroids, integers."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.codecs.base import Shape, flat_shape
from compress.codecs.grid.centroids import Shifts
from compress.codecs.grid.layout import Codes, ColumnBlock, decode_streams
from compress.codecs.grid.steps import FINEST
from compress.codecs.length_prefix import take_varint
from compress.codecs.lossless import check_ratio, integers_decode
from compress.errors import UserError

HEAD = struct.Struct("<BfBB")  # way of the streams, step, centroid shifts of plain rounding
CALIBRATED = 32  # flag in the first byte: inputs × outputs, inputs with steps of their own
TRELLIS = 64  # flag beside it: integers are a trellis's; three more shifts, and of each group how many columns are
#                not, come right before the streams


@dataclass(frozen=True)
class GridPayload:
    """A payload taken apart and checked."""

    step: float
    shifts: Shifts
    scales: list[float]
    groups: Sequence[int]
    blocks: list[ColumnBlock]
    sorted_integers: list[NDArray[np.signedinteger[Any]]]  # inputs × outputs, as the codes of their steps sort them
    by_column: bool  # inputs × outputs, each input with a step of its own; else one long row
    plain: list[int] | None  # how many columns of each group, those with the widest steps, have no trellis; None: all

    @property
    def nbytes(self) -> int:
        """Memory of the integers."""
        return sum(values.nbytes for values in self.sorted_integers)

    def integers(self, group: int) -> NDArray[np.signedinteger[Any]]:
        """The integers of a group, inputs × outputs."""
        return self.blocks[group].unsorted(self.sorted_integers[group])


def read_payload(payload: bytes, shapes: Sequence[Shape]) -> GridPayload:
    if len(payload) < HEAD.size + 2 * len(shapes):
        raise UserError(f"damaged grid payload: only {len(payload)} bytes")
    check_ratio(sum(prod(shape) for shape in shapes), len(payload))
    flags, step, *shifts = HEAD.unpack_from(payload)
    at = HEAD.size
    scales = [bf16_value(payload[at + 2 * i : at + 2 * i + 2]) for i in range(len(shapes))]
    at += 2 * len(shapes)
    if not 0 < step < math.inf or not all(0 <= scale < math.inf for scale in scales):
        raise UserError("damaged grid payload: a step or scale that is none")
    groups: Sequence[int] = range(len(shapes))
    by_column, trellised = bool(flags & CALIBRATED), bool(flags & TRELLIS)
    if trellised and not by_column:
        raise UserError("damaged grid payload: a trellis without columns")
    plain: list[int] | None = None
    if by_column:
        flat = [flat_shape(shape) for shape in shapes]
        groups, at = _checked(payload[at : at + len(shapes)], flat), at + len(shapes)
        blocks, at = _read_codes(payload, at, groups, flat)
    else:
        blocks = [ColumnBlock(np.zeros(1, np.int16), prod(shape)) for shape in shapes]
    if trellised:
        shifts, at, plain = [*shifts, *payload[at : at + 3].ljust(3, b"\0")], at + 3, []
        for block in blocks:
            count, at = take_varint(payload, at)
            if count > block.codes.size:
                raise UserError("damaged grid payload: more plain columns than columns")
            plain.append(count)
    integers = decode_streams(blocks, flags & ~(CALIBRATED | TRELLIS), payload[at:])
    return GridPayload(step, Shifts(tuple(shifts)), scales, groups, blocks, integers, by_column, plain)


def _checked(groups: bytes, shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Groups as they were written, or a refusal: numbered as they come, one width in each."""
    widths: list[int] = []
    if len(groups) != len(shapes):
        raise UserError("damaged grid payload: it ends inside its groups")
    for group, shape in zip(groups, shapes, strict=True):
        if group > len(widths) or (group < len(widths) and widths[group] != shape[1]):
            raise UserError("damaged grid payload: impossible groups")
        if group == len(widths):
            widths.append(shape[1])
    return list(groups)


def _read_codes(
    payload: bytes, at: int, groups: Sequence[int], shapes: Sequence[tuple[int, int]]
) -> tuple[list[ColumnBlock], int]:
    count = max(groups) + 1
    widths = [next(s[1] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    outputs = [sum(s[0] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    columns, at = _take_codes(payload, at, widths)
    rows, at = _take_codes(payload, at, outputs)
    if columns is None:
        raise UserError("damaged grid payload: no column steps")
    return [
        ColumnBlock(c, o, rows[i] if rows else None) for i, (c, o) in enumerate(zip(columns, outputs, strict=True))
    ], at


def _take_codes(payload: bytes, at: int, counts: Sequence[int]) -> tuple[list[Codes] | None, int]:
    """Codes of so many places for each block; None where none were written."""
    length, at = take_varint(payload, at)
    if length == 0:
        return None, at
    codes = integers_decode(payload[at : at + length], sum(counts), "int16").astype(np.int16)
    if codes.min() < 0 or codes.max() > FINEST:
        raise UserError("damaged grid payload: a step that is none")
    return np.split(codes, np.cumsum(counts)[:-1]), at + length


def bf16_bytes(value: float) -> bytes:
    """A value that is a bfloat16 already."""
    return struct.pack("<f", value)[2:]


def bf16_value(data: bytes) -> float:
    return float(struct.unpack("<f", b"\0\0" + data)[0])
