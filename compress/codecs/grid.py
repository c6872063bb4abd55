"""`grid@R`: the house codec. A uniform grid, entropy-coded integers, at most R bits a weight in all.

Entropy coding makes a uniform grid nearly optimal: common values near zero cost a fraction of a bit, and
rare large ones keep their full precision without scales for small groups. The step is searched so that the
payload, side information included, costs at most R bits a weight and not less than 0.98 R. With Hessians
the rounding is by error feedback with a step for each input column; without, it is plain. All matrices of
a unit share one step relative to their own scale, and so their entropy model.

Payload: head; for each matrix its scale (and, with Hessians, which of them share their inputs); the codes
of the column steps; the integers.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.base import Codec, Shape, flat_shape
from compress.codecs.frames import put_varint, take_varint
from compress.codecs.layout import Block, Codes, decode_streams, encode_streams
from compress.codecs.lossless import check_ratio, integers_decode, integers_encode
from compress.codecs.parts import FINEST, Part, sample, split_parts, steps_of
from compress.codecs.rate import first_guess, search
from compress.codecs.registry import register
from compress.codecs.statistics import Statistics
from compress.errors import Refusal

LOWEST, HIGHEST = 0.25, 8.0
HEAD = struct.Struct("<BfBB")  # way of the streams, step, centroid shifts of |q| = 1 and of |q| > 1
CALIBRATED = 32  # flag in the first byte: columns have steps of their own
_SHIFT = 512.0  # a centroid shift is stored in units of 1/512 of a step
_CACHED = 1 << 15  # integers
_MUCH = 1 << 22  # weights from which the step is searched on a share of the outputs


class Grid(Codec):
    uses_hessian = True

    def __init__(self, rate: float, overhead: int = 0) -> None:
        self.rate = rate
        self.overhead = overhead  # bytes of a header that is not ours but counts
        self.level = f"grid@{rate:g}"

    def within(self, overhead: int) -> Grid:
        return Grid(self.rate, overhead)

    def unit_misfit(self, shapes: Sequence[Shape], roles: Sequence[str]) -> str | None:
        if reason := super().unit_misfit(shapes, roles):
            return reason
        count = sum(prod(shape) for shape in shapes)
        if count * self.rate / 8 < 64 + 2 * len(shapes):
            return f"{count} weights are too few to be written at {self.rate:g} bits each, side information included"
        return None

    def encode(
        self,
        weights: Sequence[Tensor],
        known: Sequence[Statistics | None],
        roles: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        parts = split_parts(weights, known)
        calibrated = any(statistics is not None for statistics in known)
        side = b"".join(
            _bf16_bytes(scale)
            for _, scale in sorted(p for part in parts for p in zip(part.members, part.scales, strict=True))
        )
        if calibrated:
            groups = sorted((index, group) for group, part in enumerate(parts) for index in part.members)
            codes = integers_encode(np.concatenate([part.block.codes for part in parts]))
            side += bytes(group for _, group in groups) + put_varint(len(codes)) + codes
            rows = [part.block.rows for part in parts if part.block.rows is not None]
            row_codes = integers_encode(np.concatenate(rows)) if rows else b""
            side += put_varint(len(row_codes)) + row_codes
        count = sum(part.numel for part in parts)
        budget = int(count * self.rate / 8) - self.overhead

        def attempt(parts: Sequence[Part]) -> Callable[[float], bytes]:
            return lambda log_step: _payload(parts, 2.0**log_step, side, calibrated)

        if all(scale == 0 for part in parts for scale in part.scales):
            return attempt(parts)(0.0)
        guess = first_guess(sample(parts), 8 * (budget - len(side)) / count)
        if count > _MUCH:  # find the step on a share of the outputs; all of them then cost the same a weight
            few = [part.thinned(-(-count // _MUCH)) for part in parts]
            few_count = sum(part.numel for part in few)
            fewer = int((budget - len(side)) * few_count / count) + len(side)
            guess = search(attempt(few), fewer, few_count, guess)[1]
        return search(attempt(parts), budget, count, guess)[0]

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:  # noqa: ARG002
        read = read_payload(payload, shapes)
        out: list[Tensor] = [torch.empty(0)] * len(shapes)
        for group, block in enumerate(read.blocks):
            columns = torch.from_numpy(centroids(read.integers[group], *read.shifts))
            read.integers[group] = np.empty(0)  # a unit may take gigabytes: each part is let go when it is used
            if read.calibrated:
                columns *= torch.from_numpy(np.float32(read.step) * steps_of(block.codes))[:, None]
            if block.rows is not None:
                columns *= torch.from_numpy(steps_of(block.rows))[None, :]
            begin = 0
            for i in (i for i in range(len(shapes)) if read.groups[i] == group):
                width = flat_shape(shapes[i])[0] if read.calibrated else block.outputs
                mine = columns[:, begin : begin + width]
                begin += width
                value = mine.T.contiguous() if read.calibrated else mine
                scale = read.scales[i] if read.calibrated else read.scales[i] * read.step
                out[i] = value.mul_(scale).reshape(shapes[i])
        return out

    def integers(self, payload: bytes, shapes: Sequence[Shape]) -> NDArray[np.generic]:
        """The integers of a payload, for those who want to know their entropy."""
        return np.concatenate([values.reshape(-1) for values in read_payload(payload, shapes).integers])


@dataclass(frozen=True)
class Read:
    """A payload taken apart and checked."""

    step: float
    shifts: tuple[float, float]
    scales: list[float]
    groups: Sequence[int]
    blocks: list[Block]
    integers: list[NDArray[np.generic]]
    calibrated: bool


def read_payload(payload: bytes, shapes: Sequence[Shape]) -> Read:
    if len(payload) < HEAD.size + 2 * len(shapes):
        raise Refusal(f"damaged grid payload: only {len(payload)} bytes")
    check_ratio(sum(prod(shape) for shape in shapes), len(payload))
    flags, step, first, others = HEAD.unpack_from(payload)
    at = HEAD.size
    scales = [_bf16_value(payload[at + 2 * i : at + 2 * i + 2]) for i in range(len(shapes))]
    at += 2 * len(shapes)
    if not 0 < step < math.inf or not all(0 <= scale < math.inf for scale in scales):
        raise Refusal("damaged grid payload: a step or scale that is none")
    groups: Sequence[int] = range(len(shapes))
    calibrated = bool(flags & CALIBRATED)
    if calibrated:
        flat = [flat_shape(shape) for shape in shapes]
        groups, at = _checked(payload[at : at + len(shapes)], flat), at + len(shapes)
        blocks, at = _read_codes(payload, at, groups, flat)
    else:
        blocks = [Block(np.zeros(1, np.int16), prod(shape)) for shape in shapes]
    integers = decode_streams(blocks, flags & ~CALIBRATED, payload[at:])
    return Read(step, (first / _SHIFT, others / _SHIFT), scales, groups, blocks, integers, calibrated)


def centroids(integers: NDArray[np.generic], first: float, others: float) -> NDArray[np.float32]:
    """Integers as the centroids of their cells, in steps. In pieces that stay in a processor's cache."""
    flat = integers.reshape(-1)
    out = np.empty(flat.size, np.float32)
    for begin in range(0, flat.size, _CACHED):
        q, value = flat[begin : begin + _CACHED], out[begin : begin + _CACHED]
        value[...] = q
        if first or others:
            sign = np.sign(q)
            value -= sign * np.float32(others)
            if first != others:
                value -= (sign == q) * sign * np.float32(first - others)
    return out.reshape(integers.shape)


def _payload(parts: Sequence[Part], step: float, side: bytes, calibrated: bool) -> bytes:
    step = float(np.float32(step))
    first, others = _centroids(sample(parts) / np.float32(step))
    shifts = (first / _SHIFT, others / _SHIFT)
    try:
        integers: list[NDArray[np.generic]] = [part.integers(step, shifts, np.dtype(np.int16)) for part in parts]
    except OverflowError:
        integers = [part.integers(step, shifts, np.dtype(np.int32)) for part in parts]
    way, streams = encode_streams([part.block for part in parts], integers)
    return HEAD.pack(way | (CALIBRATED if calibrated else 0), step, first, others) + side + streams


def _centroids(scaled: NDArray[np.float32]) -> tuple[int, int]:
    """How far the mean of a cell lies towards zero from its middle, in units of 1/512 step."""
    size = np.rint(np.abs(scaled))
    excess = size - np.abs(scaled)
    return _shift(excess[size == 1]), _shift(excess[size > 1])


def _shift(excess: NDArray[np.float32]) -> int:
    return int(np.clip(round(float(excess.mean()) * _SHIFT), 0, 255)) if excess.size else 0


def _checked(groups: bytes, shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Groups as they were written, or a refusal: numbered as they come, one width in each."""
    found: list[int] = []
    if len(groups) != len(shapes):
        raise Refusal("damaged grid payload: it ends inside its groups")
    for group, shape in zip(groups, shapes, strict=True):
        if group > len(found) or (group < len(found) and found[group] != shape[1]):
            raise Refusal("damaged grid payload: impossible groups")
        if group == len(found):
            found.append(shape[1])
    return list(groups)


def _read_codes(
    payload: bytes, at: int, groups: Sequence[int], shapes: Sequence[tuple[int, int]]
) -> tuple[list[Block], int]:
    count = max(groups) + 1
    widths = [next(s[1] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    outputs = [sum(s[0] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    columns, at = _take_codes(payload, at, widths)
    rows, at = _take_codes(payload, at, outputs)
    if columns is None:
        raise Refusal("damaged grid payload: no column steps")
    return [Block(c, o, rows[i] if rows else None) for i, (c, o) in enumerate(zip(columns, outputs, strict=True))], at


def _take_codes(payload: bytes, at: int, counts: Sequence[int]) -> tuple[list[Codes] | None, int]:
    """Codes of so many places for each block; None where none were written."""
    length, at = take_varint(payload, at)
    if length == 0:
        return None, at
    codes = integers_decode(payload[at : at + length], sum(counts), "int16").astype(np.int16)
    if codes.min() < 0 or codes.max() > FINEST:
        raise Refusal("damaged grid payload: a step that is none")
    return np.split(codes, np.cumsum(counts)[:-1]), at + length


def _bf16_bytes(value: float) -> bytes:
    """A value that is a bfloat16 already."""
    return struct.pack("<f", value)[2:]


def _bf16_value(data: bytes) -> float:
    return float(struct.unpack("<f", b"\0\0" + data)[0])


def _make(settings: str) -> Grid:
    rate = round(float(settings[1:]), 3) if re.fullmatch(r"@(\d{1,2}|\d{0,2}\.\d{1,20})", settings) else math.nan
    if not LOWEST <= rate <= HIGHEST:
        raise Refusal(f"unknown level 'grid{settings}'; write grid@RATE with {LOWEST} to {HIGHEST:g} bits a weight")
    return Grid(rate)


register("grid", _make)
