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
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.base import Codec, Shape, flat_shape, rows
from compress.codecs.feedback import Factor, factor, quantise_columns, shifted
from compress.codecs.frames import put_varint, take_varint
from compress.codecs.layout import Block, decode_streams, encode_streams
from compress.codecs.lossless import check_ratio, integers_decode, integers_encode
from compress.codecs.rate import first_guess, search
from compress.codecs.registry import register
from compress.errors import Refusal

LOWEST, HIGHEST = 0.25, 8.0
_HEAD = struct.Struct("<BfBB")  # way of the streams, step, centroid shifts of |q| = 1 and of |q| > 1
_CALIBRATED = 32  # flag in the first byte: columns have steps of their own
_SHIFT = 512.0  # a centroid shift is stored in units of 1/512 of a step
_FINEST = 96  # largest code of a column step: 2^-24 of the widest
_SAMPLE = 1 << 16  # weights that the first guess of the step looks at


@dataclass(frozen=True)
class Part:
    """Matrices that share their inputs, as the encoder works on them: inputs × outputs, each at its scale."""

    block: Block
    columns: Tensor
    relative: Tensor  # step of each column, as the decoder will know it
    factor: Factor | None


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
        hessians: Sequence[Tensor | None],
        roles: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        matrices = [rows(weight) for weight in weights]
        groups = _groups(hessians) if any(h is not None for h in hessians) else None
        scales = [_bf16(_scale(m, h)) for m, h in zip(matrices, hessians, strict=True)]
        parts = _parts(matrices, scales, hessians, groups)
        side = b"".join(_bf16_bytes(scale) for scale in scales)
        if groups is not None:
            codes = integers_encode(np.concatenate([part.block.codes for part in parts]))
            side += bytes(groups) + put_varint(len(codes)) + codes
        count = sum(m.numel() for m in matrices)
        budget = int(count * self.rate / 8) - self.overhead

        def attempt(log_step: float) -> bytes:
            return _payload(parts, 2.0**log_step, side, groups is not None)

        if all(not bool(part.columns.any()) for part in parts):
            return attempt(0.0)
        return search(attempt, budget, count, first_guess(_sample(parts), 8 * (budget - len(side)) / count))

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:  # noqa: ARG002
        if len(payload) < _HEAD.size + 2 * len(shapes):
            raise Refusal(f"damaged grid payload: only {len(payload)} bytes")
        check_ratio(sum(prod(shape) for shape in shapes), len(payload))
        flags, step, first, others = _HEAD.unpack_from(payload)
        at = _HEAD.size
        scales = [_bf16_value(payload[at + 2 * i : at + 2 * i + 2]) for i in range(len(shapes))]
        at += 2 * len(shapes)
        if not 0 < step < math.inf or not all(0 <= scale < math.inf for scale in scales):
            raise Refusal("damaged grid payload: a step or scale that is none")
        flat = [flat_shape(shape) for shape in shapes]
        shifts = (first / _SHIFT, others / _SHIFT)
        groups: Sequence[int] = range(len(shapes))
        if flags & _CALIBRATED:
            groups, at = _checked(payload[at : at + len(shapes)], flat), at + len(shapes)
            blocks, at = _read_codes(payload, at, groups, flat)
        else:
            blocks = [Block(np.zeros(1, np.int16), prod(shape)) for shape in shapes]
        streams = decode_streams(blocks, flags & ~_CALIBRATED, payload[at:])
        out: list[Tensor] = [torch.empty(0)] * len(shapes)
        for group, (block, integers) in enumerate(zip(blocks, streams, strict=True)):
            members = [i for i in range(len(shapes)) if groups[i] == group]
            columns = _values(integers, shifts)
            columns *= (np.float32(step) * _steps(block.codes))[:, None]
            begin = 0
            for i in members:
                width = flat[i][0] if flags & _CALIBRATED else block.outputs
                mine = torch.from_numpy(columns[:, begin : begin + width])
                begin += width
                value = mine.T.contiguous() if flags & _CALIBRATED else mine
                out[i] = value.mul_(scales[i]).reshape(shapes[i])
        return out


def _groups(hessians: Sequence[Tensor | None]) -> list[int]:
    """For each matrix the group of those that share its inputs, numbered as they come."""
    found: list[Tensor | None] = []
    groups = []
    for hessian in hessians:
        same = [i for i, h in enumerate(found) if h is not None and hessian is not None and _equal(h, hessian)]
        if not same:
            found.append(hessian)
        groups.append(same[0] if same else len(found) - 1)
    return groups


def _equal(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and bool(torch.equal(a, b)))


def _scale(matrix: Tensor, hessian: Tensor | None) -> float:
    """What a matrix is measured by: the size of its outputs on the calibration data, or of its weights."""
    if hessian is None:
        return float(matrix.square().mean().sqrt())
    damped = factor(hessian).hessian.to(matrix.device)
    return float(((matrix @ damped) * matrix).sum().div(matrix.numel()).clamp(min=0).sqrt())


def _parts(
    matrices: Sequence[Tensor], scales: Sequence[float], hessians: Sequence[Tensor | None], groups: list[int] | None
) -> list[Part]:
    scaled = [m / s if s > 0 else torch.zeros_like(m) for m, s in zip(matrices, scales, strict=True)]
    if groups is None:
        one = np.zeros(1, np.int16)
        return [Part(Block(one, m.numel()), m.reshape(1, -1), torch.ones(1), None) for m in scaled]
    parts = []
    for group in range(max(groups) + 1):
        members = [i for i, g in enumerate(groups) if g == group]
        columns = torch.cat([scaled[i] for i in members]).T.contiguous()
        hessian = hessians[members[0]]
        known = None if hessian is None else factor(hessian)
        relative = torch.ones(columns.shape[0]) if known is None else known.relative.cpu()
        codes = (-4 * torch.log2(relative)).round().clamp(0, _FINEST).to(torch.int16).numpy()
        steps = torch.from_numpy(_steps(codes)).to(columns.device)
        parts.append(Part(Block(codes, columns.shape[1]), columns, steps, known))
    return parts


def _steps(codes: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.exp2(codes.astype(np.float32) / -4).astype(np.float32)


def _sample(parts: Sequence[Part]) -> NDArray[np.float32]:
    """Weights in units of their column's step, a few thousand of each part."""
    out = []
    for part in parts:
        values = (part.columns / part.relative.to(part.columns.device)[:, None]).reshape(-1)
        out.append(values[:: max(1, values.numel() // _SAMPLE)].cpu().numpy())
    return np.concatenate(out)


def _payload(parts: Sequence[Part], step: float, side: bytes, calibrated: bool) -> bytes:
    step = float(np.float32(step))
    first, others = _centroids(_sample(parts) / np.float32(step))
    integers = []
    for part in parts:
        steps = part.relative.to(part.columns.device) * step
        if part.factor is None:
            q = torch.round(part.columns / steps[:, None])
        else:
            order = part.factor.order.to(part.columns.device)
            upper = part.factor.upper.to(part.columns.device)
            shifts = (first / _SHIFT, others / _SHIFT)
            ordered = quantise_columns(part.columns[order], upper, steps[order], shifts)
            q = torch.empty_like(ordered)
            q[order] = ordered
        if float(q.abs().max()) >= 2**31:
            raise Refusal("a weight lies too far from all others for a grid")
        integers.append(q.to(torch.int32).cpu().numpy())
    way, streams = encode_streams([part.block for part in parts], integers)
    return _HEAD.pack(way | (_CALIBRATED if calibrated else 0), step, first, others) + side + streams


def _centroids(scaled: NDArray[np.float32]) -> tuple[int, int]:
    """How far the mean of a cell lies towards zero from its middle, in units of 1/512 step."""
    size = np.rint(np.abs(scaled))
    excess = size - np.abs(scaled)
    return _shift(excess[size == 1]), _shift(excess[size > 1])


def _shift(excess: NDArray[np.float32]) -> int:
    return int(np.clip(round(float(excess.mean()) * _SHIFT), 0, 255)) if excess.size else 0


def _values(integers: NDArray[np.generic], shifts: tuple[float, float]) -> NDArray[np.float32]:
    q = torch.from_numpy(integers.astype(np.float32))
    return shifted(q, *shifts).numpy()


def _checked(groups: bytes, shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Groups as they were written, or a refusal: numbered as they come, one width in each."""
    found: list[int] = []
    for group, shape in zip(groups, shapes, strict=True):
        if group > len(found) or (group < len(found) and found[group] != shape[1]):
            raise Refusal("damaged grid payload: impossible groups")
        if group == len(found):
            found.append(shape[1])
    return list(groups)


def _read_codes(
    payload: bytes, at: int, groups: Sequence[int], shapes: Sequence[tuple[int, int]]
) -> tuple[list[Block], int]:
    length, at = take_varint(payload, at)
    count = max(groups) + 1
    widths = [next(s[1] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    outputs = [sum(s[0] for g, s in zip(groups, shapes, strict=True) if g == group) for group in range(count)]
    codes = integers_decode(payload[at : at + length], sum(widths), "int16")
    if codes.min() < 0 or codes.max() > _FINEST:
        raise Refusal("damaged grid payload: a column step that is none")
    ends = np.cumsum(widths)
    return [
        Block(codes[e - w : e].astype(np.int16), o) for e, w, o in zip(ends, widths, outputs, strict=True)
    ], at + length


def _bf16_bytes(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


def _bf16_value(data: bytes) -> float:
    return float(struct.unpack("<f", b"\0\0" + data)[0])


def _bf16(value: float) -> float:
    """The bfloat16 next to a value towards zero: what the payload will say."""
    return _bf16_value(_bf16_bytes(value))


def _make(settings: str) -> Grid:
    try:
        rate = round(float(settings[1:]), 3) if settings[:1] == "@" and "_" not in settings else math.nan
    except ValueError:
        rate = math.nan
    if not LOWEST <= rate <= HIGHEST:
        raise Refusal(f"unknown level 'grid{settings}'; write grid@RATE with {LOWEST} to {HIGHEST:g} bits a weight")
    return Grid(rate)


register("grid", _make)
