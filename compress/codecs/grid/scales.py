"""Other scales for a unit written with `grid@R`, in place: two bytes a matrix, so not one byte more or less.

The cheapest thing that training can change in an encoded matrix, beside norms and biases.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from compress.codecs.grid.payload import HEAD
from compress.errors import UserError


def can_rescale(level: str) -> bool:
    return level.startswith("grid@")


def rescaled(payload: bytes, level: str, factors: Sequence[float]) -> bytes:
    """The payload of a unit whose matrices are each multiplied by a factor, as near as a bfloat16 scale comes."""
    if not can_rescale(level) or len(payload) < HEAD.size + 2 * len(factors):
        raise UserError(f"level {level} keeps no scale that could be replaced; only grid@R does")
    out = bytearray(payload)
    for index, factor in enumerate(factors):
        at = HEAD.size + 2 * index
        scale = struct.unpack("<f", b"\0\0" + payload[at : at + 2])[0] * factor
        if not 0 <= scale < math.inf:
            raise UserError(f"a scale times {factor} is no scale")
        out[at : at + 2] = _nearest(scale)
    return bytes(out)


def _nearest(value: float) -> bytes:
    """The bfloat16 nearest to a value, ties to even."""
    bits = int.from_bytes(struct.pack("<f", value), "little")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).to_bytes(2, "little")
