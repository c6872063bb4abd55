"""`grid@R`: our codec. A uniform grid, entropy-coded integers, at most R bits a weight in all.

Entropy coding makes a uniform grid nearly optimal: common values near zero cost a fraction of a bit, and
rare large ones keep their full precision without scales for small groups. The step is searched so that the
payload, side information included, costs at most R bits a weight and not less than 0.98 R. With Hessians
the rounding is by error feedback with a step for each input column; without, it is plain. All matrices of
a unit share one step relative to their own scale, and so their entropy model. `grid@R:trellis` chooses the
integers together, down each output's inputs (trellis.py): slower to write, 1 dB better.

Payload: head; for each matrix its scale (and, with Hessians, which of them share their inputs); the codes
of the column steps; the integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.base import CPU, Codec, Shape, flat_shape
from compress.codecs.grid.centroids import Shifts, joined, plain_shifts, trellis_shifts
from compress.codecs.grid.layout import encode_streams
from compress.codecs.grid.parts import MatrixGroup, flat_sample, sample, split_parts
from compress.codecs.grid.payload import CALIBRATED, HEAD, TRELLIS, GridPayload, bf16_bytes, read_payload
from compress.codecs.grid.rate import ENOUGH, approach, first_guess, search
from compress.codecs.grid.steps import steps_of
from compress.codecs.length_prefix import put_varint
from compress.codecs.lossless import integers_encode
from compress.codecs.registry import codec, register
from compress.codecs.statistics import Statistics
from compress.errors import UserError
from compress.kernels.dispatch import decode_columns, decode_flat

LOWEST, HIGHEST = 0.25, 8.0
_SUFFIX = ":trellis"
JUMP = 1e-3  # of log2 of a step: more than is between the last two steps of a search
_MUCH = 1 << 22  # weights from which the step is searched on a share of the outputs


class Grid(Codec):
    uses_hessian = True

    def __init__(self, rate: float, trellised: bool = False, overhead: int = 0) -> None:
        self.rate = rate
        self.trellised = trellised
        self.overhead = overhead  # bytes of a header that is not ours but counts
        self.level = f"grid@{rate:g}" + (_SUFFIX if trellised else "")

    def within(self, overhead: int) -> Grid:
        return Grid(self.rate, self.trellised, overhead)

    def unit_unsupported(self, shapes: Sequence[Shape], roles: Sequence[str]) -> str | None:
        if reason := super().unit_unsupported(shapes, roles):
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
        parts = split_parts(weights, known, self.trellised)
        by_column = self.trellised or any(statistics is not None for statistics in known)
        side = b"".join(
            bf16_bytes(scale)
            for _, scale in sorted(p for part in parts for p in zip(part.members, part.scales, strict=True))
        )
        if by_column:
            groups = sorted((index, group) for group, part in enumerate(parts) for index in part.members)
            codes = integers_encode(np.concatenate([part.block.codes for part in parts]))
            side += bytes(group for _, group in groups) + put_varint(len(codes)) + codes
            rows = [part.block.rows for part in parts if part.block.rows is not None]
            row_codes = integers_encode(np.concatenate(rows)) if rows else b""
            side += put_varint(len(row_codes)) + row_codes
        count = sum(part.numel for part in parts)
        budget = int(count * self.rate / 8) - self.overhead

        def attempt(
            parts: Sequence[MatrixGroup], trellised: bool = False, plain: Sequence[int] | None = None
        ) -> Callable[[float], bytes]:
            flags = (CALIBRATED if by_column else 0) | (TRELLIS if trellised else 0)
            return lambda log_step: _payload(parts, 2.0**log_step, side, flags, plain)

        if all(scale == 0 for part in parts for scale in part.scales):
            return attempt(parts, self.trellised)(0.0)
        guess = first_guess(flat_sample(parts), 8 * (budget - len(side)) / count)
        if count > _MUCH:  # find the step on a share of the outputs; all of them then cost the same a weight
            for most, trellised in ((_MUCH // 4, False), (_MUCH // 2, True)) if self.trellised else ((_MUCH, False),):
                few = [part.thinned(-(-count // most)) for part in parts]
                few_count = sum(part.numel for part in few)
                fewer = int((budget - len(side)) * few_count / count) + len(side)
                guess = approach(attempt(few, trellised), fewer, few_count, guess)
        elif self.trellised:  # at one step a trellis costs what plain rounding does, which takes a tenth of the time
            guess = search(attempt(parts), budget, count, guess)[1]
        payload, log_step = search(attempt(parts, self.trellised), budget, count, guess)
        if self.trellised and len(payload) < ENOUGH * budget:
            # Where the number of plain columns changes, bytes jump: keep the number on the other side of the jump.
            plain = [part.plain_columns(2.0 ** (log_step - JUMP)) for part in parts]
            other = search(attempt(parts, True, plain), budget, count, log_step)[0]
            payload = max(payload, other, key=len)
        return payload

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:
        return self.weights(self.read(payload, shapes), shapes, dtype)

    def read(self, payload: bytes, shapes: Sequence[Shape]) -> GridPayload:
        return read_payload(payload, shapes)

    def weights(
        self,
        read: GridPayload,
        shapes: Sequence[Shape],
        dtype: torch.dtype,  # noqa: ARG002
        device: torch.device = CPU,
        wanted: torch.dtype | None = None,
    ) -> list[Tensor]:
        wanted = wanted or torch.float32
        out: list[Tensor] = [torch.empty(0)] * len(shapes)
        for group, block in enumerate(read.blocks):
            members = [i for i in range(len(shapes)) if read.groups[i] == group]
            integers = read.sorted_integers[group]
            if not read.by_column:
                scale = read.scales[members[0]] * read.step
                weights = [decode_flat(integers.reshape(-1), read.shifts.plain, scale, device, wanted)]
            else:
                heights = [flat_shape(shapes[i])[0] for i in members]
                rows = np.arange(block.outputs) if block.row_order is None else block.row_order
                row_codes = np.zeros(block.outputs, np.int16) if block.rows is None else block.rows
                scales = np.repeat([np.float32(read.scales[i]) for i in members], heights)
                whole = decode_columns(
                    integers,
                    block.column_order,
                    rows,
                    None if read.plain is None else read.plain[group],
                    read.shifts.plain,
                    None if read.plain is None else read.shifts.trellis,
                    np.float32(read.step) * steps_of(block.codes[block.column_order]),
                    steps_of(row_codes[rows]),
                    scales[rows],
                    device,
                    wanted,
                )
                weights = [part.clone() for part in whole.split(heights)] if len(members) > 1 else [whole]
            for i, weight in zip(members, weights, strict=True):
                out[i] = weight.reshape(shapes[i])
        return out

    def integers(self, payload: bytes, shapes: Sequence[Shape]) -> NDArray[np.generic]:
        """The integers of a payload, for those who want to know their entropy."""
        return np.concatenate([values.reshape(-1) for values in read_payload(payload, shapes).sorted_integers])


def _payload(
    parts: Sequence[MatrixGroup], step: float, side: bytes, flags: int, columns: Sequence[int] | None = None
) -> bytes:
    """The payload at a step. `columns` says how many columns of each part are plain, if the step should not."""
    step = float(np.float32(step))
    plain: list[int | None] = [None] * len(parts)
    if flags & TRELLIS:
        plain = list(columns) if columns is not None else [part.plain_columns(step) for part in parts]
    shifts = _shifts(parts, step, plain)
    try:
        integers = [p.integers(step, shifts, np.int16, n) for p, n in zip(parts, plain, strict=True)]
    except OverflowError:
        integers = [p.integers(step, shifts, np.int32, n) for p, n in zip(parts, plain, strict=True)]
    way, streams = encode_streams([part.block for part in parts], integers)
    if flags & TRELLIS:
        side += bytes(shifts.codes[2:]) + b"".join(put_varint(n or 0) for n in plain)
    return HEAD.pack(way | flags, step, *shifts.codes[:2]) + side + streams


def _shifts(parts: Sequence[MatrixGroup], step: float, plain: Sequence[int | None]) -> Shifts:
    """By a sample of the weights; with a trellis, of the columns that have one and of the others apart."""
    if None in plain:
        return Shifts(plain_shifts(flat_sample(parts) / np.float32(step)))
    wide, fine = [], []
    for part, count in zip(parts, plain, strict=True):
        order = part.block.column_order
        for some in sample(part):
            wide.append(some[:, order[:count]])
            fine.append(some[:, order[count:]])
    return Shifts(plain_shifts(joined(wide) / np.float32(step)) + trellis_shifts(joined(fine) / np.float32(step)))


def rate_of(level: str) -> float | None:
    """R of `grid@R`; None for a level of another codec."""
    grid = codec(level)
    return grid.rate if isinstance(grid, Grid) else None


def has_trellis(level: str) -> bool:
    return level.startswith("grid@") and level.endswith(_SUFFIX)


def with_trellis(level: str) -> str:
    """The level with a trellis if it is a `grid`; other levels as they are."""
    return level if rate_of(level) is None or has_trellis(level) else level + _SUFFIX


def _make(settings: str) -> Grid:
    plain = settings.removesuffix(_SUFFIX)
    rate = round(float(plain[1:]), 3) if re.fullmatch(r"@(\d{1,2}|\d{0,2}\.\d{1,20})", plain) else math.nan
    if not LOWEST <= rate <= HIGHEST:
        raise UserError(f"unknown level 'grid{settings}'; write grid@RATE with {LOWEST} to {HIGHEST:g} bits a weight")
    return Grid(rate, trellised=plain != settings)


register("grid", _make)
