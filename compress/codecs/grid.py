"""`grid@R`: the house codec. A uniform grid, entropy-coded integers, at most R bits a weight in all.

Entropy coding makes a uniform grid nearly optimal: common values near zero cost a fraction of a bit, and
rare large ones keep their full precision without scales for small groups. The step is searched so that the
payload, side information included, costs at most R bits a weight and not less than 0.98 R. All matrices of
a unit share one step relative to their own root mean square, and so one entropy model.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.codecs.base import Codec, Shape, rows
from compress.codecs.lossless import check_ratio, integers_decode, integers_encode
from compress.codecs.registry import register
from compress.errors import Refusal

LOWEST, HIGHEST = 0.25, 8.0
_HEAD = struct.Struct("<BfBB")  # flags, step, centroid shifts of |q| = 1 and of |q| > 1
_WIDE = 1  # flag: integers of 32 bits
_SHIFT = 512.0  # a centroid shift is stored in units of 1/512 of a step
_ENOUGH = 0.985  # stop searching when this share of the budget is used
Integers = NDArray[np.generic]


@dataclass(frozen=True)
class Quantised:
    """A unit on the grid: integers of all its matrices, and what turns them back into weights."""

    integers: Integers
    step: float
    shifts: tuple[int, int]


class Grid(Codec):
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
        hessians: Sequence[Tensor | None],  # noqa: ARG002
        roles: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        matrices = [rows(weight).cpu() for weight in weights]
        scales = [_bf16(matrix.square().mean().sqrt().item()) for matrix in matrices]
        head = b"".join(_bf16_bytes(scale) for scale in scales)
        unit = torch.cat([(m / s if s > 0 else m).reshape(-1) for m, s in zip(matrices, scales, strict=True)]).numpy()
        budget = int(unit.size * self.rate / 8) - len(head) - self.overhead
        return head + search_step(unit, budget)

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:  # noqa: ARG002
        at = 2 * len(shapes)
        if len(payload) < at + _HEAD.size:
            raise Refusal(f"damaged grid payload: only {len(payload)} bytes")
        flags, step, first, others = _HEAD.unpack_from(payload, at)
        count = sum(prod(shape) for shape in shapes)
        check_ratio(count, len(payload))
        if not 0 < step < float("inf"):
            raise Refusal(f"damaged grid payload: a step of {step}")
        body = payload[at + _HEAD.size :]
        integers = integers_decode(body, count, "int32" if flags & _WIDE else "int16")
        out, begin = [], 0
        for index, shape in enumerate(shapes):
            scale = _bf16_value(payload[2 * index : 2 * index + 2])
            if not 0 <= scale < float("inf"):
                raise Refusal(f"damaged grid payload: a scale of {scale}")
            part = integers[begin : begin + prod(shape)]
            begin += prod(shape)
            out.append(torch.from_numpy(values(part, (first, others), step * scale)).reshape(shape))
        return out


def search_step(unit: NDArray[np.float32], budget: int) -> bytes:
    """The finest step whose payload takes at most `budget` bytes, to within 1.5 %."""
    if not unit.any():
        return _payload(Quantised(np.zeros(unit.size, np.int16), 1.0, (0, 0)))
    best: bytes | None = None
    low, high = -24.0, 8.0  # log2 of the step: too costly, affordable
    guess = _first_guess(unit, 8 * budget / unit.size)
    for _ in range(24):
        payload = _payload(quantise(unit, 2.0**guess))
        if len(payload) <= budget:
            best, high = (payload if best is None or len(payload) > len(best) else best), guess
            if len(payload) >= _ENOUGH * budget:
                break
        else:
            low = guess
        # Near the target one bit less of step costs one bit a weight; bisect when that leads outside.
        slope = 8 * len(payload) / unit.size - 8 * 0.994 * budget / unit.size
        guess += slope
        if not low < guess < high:
            guess = (low + high) / 2
        if high - low < 1e-4:
            break
    if best is None:
        raise Refusal(f"{unit.size} weights cannot be written in {budget} bytes")
    return best


def _first_guess(unit: NDArray[np.float32], bits: float) -> float:
    """log2 of a step by the entropy of a sample: cheap, and nearly right."""
    sample = unit[:: max(1, unit.size // 65536)]
    low, high = -16.0, 6.0
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(np.rint(sample / 2.0**middle)) > bits else (low, middle)
    return high


def entropy(integers: NDArray[np.generic]) -> float:
    """Empirical entropy, bits a value."""
    counts = np.unique(integers, return_counts=True)[1] / integers.size
    return float(-(counts * np.log2(counts)).sum())


def quantise(unit: NDArray[np.float32], step: float) -> Quantised:
    scaled = unit / np.float32(step)
    integers = np.rint(scaled)
    size = np.abs(integers)
    excess = size - np.abs(scaled)
    shifts = (_shift(excess[size == 1]), _shift(excess[size > 1]))
    if size.max(initial=0) >= 2**31:
        raise Refusal("a weight lies too far from all others for a grid")
    wide = size.max(initial=0) >= 2**15
    return Quantised(integers.astype(np.int32 if wide else np.int16), float(np.float32(step)), shifts)


def _shift(excess: NDArray[np.float32]) -> int:
    """How far the mean of a cell lies towards zero from its middle, in units of 1/512 step."""
    return int(np.clip(round(float(excess.mean()) * _SHIFT), 0, 255)) if excess.size else 0


def values(integers: NDArray[np.generic], shifts: tuple[int, int], step: float) -> NDArray[np.float32]:
    """Weights from integers: the centroid of each cell."""
    out = integers.astype(np.float32)
    first, others = shifts[0] / _SHIFT, shifts[1] / _SHIFT
    if others:
        out -= np.float32(others) * np.sign(out)
    if first != others:
        ones = np.abs(integers) == 1
        out[ones] = np.sign(integers[ones]) * np.float32(1.0 - first)
    out *= np.float32(step)
    return out


def _payload(unit: Quantised) -> bytes:
    flags = _WIDE if unit.integers.dtype == np.int32 else 0
    return _HEAD.pack(flags, unit.step, *unit.shifts) + integers_encode(unit.integers)


def _bf16_bytes(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


def _bf16_value(data: bytes) -> float:
    return float(struct.unpack("<f", b"\0\0" + data)[0])


def _bf16(value: float) -> float:
    """The nearest bfloat16 towards zero; what the payload will say."""
    return _bf16_value(_bf16_bytes(value))


def _make(settings: str) -> Grid:
    try:
        rate = float(settings[1:]) if settings[:1] == "@" and "_" not in settings else float("nan")
    except ValueError:
        rate = float("nan")
    rate = round(rate, 3) if rate == rate else rate
    if not LOWEST <= rate <= HIGHEST:
        raise Refusal(f"unknown level 'grid{settings}'; write grid@RATE with {LOWEST} to {HIGHEST:g} bits a weight")
    return Grid(rate)


register("grid", _make)
