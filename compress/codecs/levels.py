"""How many bits a weight a level takes, from its name alone. The one place that says so.

Exact bytes are known once a unit is encoded; these numbers are for what comes before: bounds, plans, axes of plots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class LevelBits:
    """Bits a weight with all side information; `nominal` is None where they depend on the weights."""

    least: float
    most: float
    nominal: float | None


GRID_LEAST = 0.95  # `grid@R` takes at most R, and stops looking for a smaller step at .988 R
UNKNOWN = LevelBits(0.0, 33.0, None)  # a codec registered by a user


def bits_of(level: str) -> LevelBits:
    """The bits of a level such as `grid@2.5:trellis`, `nf4` or `ffn:0.8+digits:2`."""
    name, _, settings = level.partition(":")
    if name == "raw":
        exact = 32.0 if settings == "fp32" else 16.0
        return LevelBits(exact, exact, exact)
    if name.startswith("grid@"):
        rate = float(name.removeprefix("grid@"))
        return LevelBits(GRID_LEAST * rate, rate, rate)
    if name == "int8":
        return LevelBits(8.0, 16.0, 8.1)  # and four bytes a row, which is much where rows are short
    if name == "nf4":
        return LevelBits(4.0, 4.2, 4.13)
    if name == "digits":  # one absolute step for all tensors: small weights cost next to nothing
        return LevelBits(0.5, 16.5, None)
    if name == "rtn" and (match := re.fullmatch(r"(\d+):g(\d+)", settings)):
        exact = int(match[1]) + 32 / int(match[2])
        return LevelBits(exact, exact, exact)
    if name == "ffn":
        share, _, inner = settings.partition("+")
        bits = bits_of(inner)
        return LevelBits(float(share) * bits.least, bits.most, bits.nominal and float(share) * bits.nominal)
    return UNKNOWN


def describe_bits(level: str) -> str:
    """For people: the usual bits, or the range where there are none."""
    bits = bits_of(level)
    return f"{bits.least:g}–{bits.most:g}" if bits.nominal is None else f"{bits.nominal:g}"
