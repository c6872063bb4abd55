"""`grid@R`: the house codec. A uniform grid, entropy-coded integers, at most R bits a weight in all.

Entropy coding makes a uniform grid nearly optimal: common values near zero cost a fraction of a bit, and
rare large ones keep their full precision without scales for small groups. The step is searched so that the
payload, side information included, costs at most R bits a weight and not less than 0.98 R. With Hessians
the rounding is by error feedback with a step for each input column; without, it is plain. All matrices of
a unit share one step relative to their own scale, and so their entropy model. `grid@R:trellis` chooses the
integers together, down each output's inputs (trellis.py): slower to write, as fast to read, 1 dB better.

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

from compress.codecs import trellis
from compress.codecs.base import Codec, Shape, flat_shape
from compress.codecs.frames import put_varint
from compress.codecs.layout import encode_streams
from compress.codecs.lossless import integers_encode
from compress.codecs.parts import Part, sample, split_parts
from compress.codecs.payload import CALIBRATED, HEAD, SHIFT, TRELLIS, bf16_bytes, read_payload
from compress.codecs.rate import first_guess, search
from compress.codecs.registry import codec, register
from compress.codecs.statistics import Statistics
from compress.codecs.steps import steps_of
from compress.errors import Refusal

LOWEST, HIGHEST = 0.25, 8.0
TRELLIS_LOWEST = 1.5  # below it plain rounding is as good: where nearly all is zero, a quarter of a step is much
_SUFFIX = ":trellis"
_SEQUENCE = 64  # weights of a sample in one sequence of the trellis
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

        def attempt(parts: Sequence[Part], trellised: bool = False) -> Callable[[float], bytes]:
            flags = (CALIBRATED if by_column else 0) | (TRELLIS if trellised else 0)
            return lambda log_step: _payload(parts, 2.0**log_step, side, flags)

        if all(scale == 0 for part in parts for scale in part.scales):
            return attempt(parts, self.trellised)(0.0)
        guess = first_guess(sample(parts), 8 * (budget - len(side)) / count)
        if count > _MUCH:  # find the step on a share of the outputs; all of them then cost the same a weight
            few = [part.thinned(-(-count // _MUCH)) for part in parts]
            few_count = sum(part.numel for part in few)
            fewer = int((budget - len(side)) * few_count / count) + len(side)
            guess = search(attempt(few), fewer, few_count, guess)[1]
        if self.trellised:  # at one step the trellis costs what plain rounding does, which takes a tenth of the time
            guess = search(attempt(parts), budget, count, guess)[1]
        return search(attempt(parts, self.trellised), budget, count, guess)[0]

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:  # noqa: ARG002
        read = read_payload(payload, shapes)
        out: list[Tensor] = [torch.empty(0)] * len(shapes)
        for group, block in enumerate(read.blocks):
            columns = torch.from_numpy(read.values(group))
            read.integers[group] = np.empty(0)  # a unit may take gigabytes: each part is let go when it is used
            if read.by_column:
                columns *= torch.from_numpy(np.float32(read.step) * steps_of(block.codes))[:, None]
            if block.rows is not None:
                columns *= torch.from_numpy(steps_of(block.rows))[None, :]
            begin = 0
            for i in (i for i in range(len(shapes)) if read.groups[i] == group):
                width = flat_shape(shapes[i])[0] if read.by_column else block.outputs
                mine = columns[:, begin : begin + width]
                begin += width
                value = mine.T.contiguous() if read.by_column else mine
                scale = read.scales[i] if read.by_column else read.scales[i] * read.step
                out[i] = value.mul_(scale).reshape(shapes[i])
        return out

    def integers(self, payload: bytes, shapes: Sequence[Shape]) -> NDArray[np.generic]:
        """The integers of a payload, for those who want to know their entropy."""
        return np.concatenate([values.reshape(-1) for values in read_payload(payload, shapes).integers])


def _payload(parts: Sequence[Part], step: float, side: bytes, flags: int) -> bytes:
    step = float(np.float32(step))
    trellised = bool(flags & TRELLIS)
    first, others, last = _centroids(sample(parts) / np.float32(step), trellised)
    shifts = (first / SHIFT, others / SHIFT, last / SHIFT)
    try:
        integers: list[NDArray[np.generic]] = [p.integers(step, shifts, np.dtype(np.int16), trellised) for p in parts]
    except OverflowError:
        integers = [part.integers(step, shifts, np.dtype(np.int32), trellised) for part in parts]
    way, streams = encode_streams([part.block for part in parts], integers)
    return HEAD.pack(way | flags, step, first, others) + side + (bytes((last,)) if trellised else b"") + streams


def _centroids(scaled: NDArray[np.float32], trellised: bool) -> tuple[int, int, int]:
    """How far the mean of a cell lies towards zero from its middle, in units of 1/512 step."""
    if trellised:
        return _trellis_centroids(scaled)
    size = np.rint(np.abs(scaled))
    excess = size - np.abs(scaled)
    return _shift(excess[size == 1]), _shift(excess[size > 1]), 0


def _trellis_centroids(scaled: NDArray[np.float32]) -> tuple[int, int, int]:
    """The same for the points nearest to zero, the next ones, and all others, by what the trellis makes of a sample."""
    long = min(_SEQUENCE, scaled.size)
    some = scaled[: scaled.size // long * long].reshape(long, -1)
    k = trellis.quantise(torch.from_numpy(some)).numpy().astype(np.int32)
    value = trellis.values(k, (0.0, 0.0, 0.0))
    excess = np.abs(value) - some * np.sign(value)
    return _shift(excess[k == 0]), _shift(excess[k == -1]), _shift(excess[(k != 0) & (k != -1)])


def _shift(excess: NDArray[np.float32]) -> int:
    return int(np.clip(round(float(excess.mean()) * SHIFT), 0, 255)) if excess.size else 0


def rate_of(level: str) -> float | None:
    """R of `grid@R`; None for a level of another codec."""
    found = codec(level)
    return found.rate if isinstance(found, Grid) else None


def has_trellis(level: str) -> bool:
    return level.startswith("grid@") and level.endswith(_SUFFIX)


def with_trellis(level: str) -> str:
    """The level with a trellis where one pays; other levels as they are."""
    rate = rate_of(level)
    return level if rate is None or rate < TRELLIS_LOWEST or has_trellis(level) else level + _SUFFIX


def _make(settings: str) -> Grid:
    plain = settings.removesuffix(_SUFFIX)
    rate = round(float(plain[1:]), 3) if re.fullmatch(r"@(\d{1,2}|\d{0,2}\.\d{1,20})", plain) else math.nan
    if not LOWEST <= rate <= HIGHEST:
        raise Refusal(f"unknown level 'grid{settings}'; write grid@RATE with {LOWEST} to {HIGHEST:g} bits a weight")
    if plain != settings and rate < TRELLIS_LOWEST:
        raise Refusal(f"unknown level 'grid{settings}'; a trellis needs {TRELLIS_LOWEST:g} bits, write 'grid{plain}'")
    return Grid(rate, trellised=plain != settings)


register("grid", _make)
