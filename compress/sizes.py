"""Sizes in bytes on disk, and the bins of IWSLT 2025 that they fall in. The one place that says which bin a size is in.

A bin holds its lower bound and not its upper one, so a boundary value belongs to the larger bin. GB = 1e9 bytes. A
model that is not full-size has bins in proportion to its original bytes, so that it is pressed as hard as Qwen2-Audio.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from compress.errors import UserError

BINS: dict[str, tuple[int, int]] = {
    "Bin1": (2_000_000_000, 4_000_000_000),
    "Bin2": (1_000_000_000, 2_000_000_000),
    "Bin3": (500_000_000, 1_000_000_000),
    "Bin4": (200_000_000, 500_000_000),
    "Bin5": (0, 200_000_000),
}
NO_BIN = "-"  # the name of where sizes from 4 GB on (at full size) fall
FULL_SIZE = 16_794_189_824  # Qwen2-Audio-7B in bf16, the model the bins were made for
NEAR_FULL_SIZE = 0.5  # from half of that on the bins are taken as they are
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Bin(NamedTuple):
    """Bytes from `low` (inclusive) to `high` (exclusive)."""

    name: str
    low: int
    high: int

    def holds(self, size: int) -> bool:
        return self.low <= size < self.high


def scale_for(original_bytes: int) -> float:
    """1 for full-size models, else the model's share of the full size."""
    return 1.0 if original_bytes >= NEAR_FULL_SIZE * FULL_SIZE else original_bytes / FULL_SIZE


def bins_of(original_bytes: int) -> tuple[Bin, ...]:
    """Every bin of a model whose weight files have so many bytes."""
    scale = scale_for(original_bytes)
    return tuple(Bin(name, round(low * scale), round(high * scale)) for name, (low, high) in BINS.items())


def bin_of(size: int, original_bytes: int) -> str:
    """Name of the bin a size falls in, NO_BIN for none."""
    return next((each.name for each in bins_of(original_bytes) if each.holds(size)), NO_BIN)


def find_bin(name: str, bins: Sequence[Bin]) -> Bin:
    """The bin of a name."""
    for each in bins:
        if each.name == name:
            return each
    raise UserError(f"unknown bin '{name}': known are {', '.join(each.name for each in bins)}")


def parse_bins(names: Sequence[str], original_bytes: int) -> tuple[Bin, ...]:
    """The bins named, `all` for every one, in the order of BINS."""
    known = {each.name: each for each in bins_of(original_bytes)}
    if "all" in names:
        return tuple(known.values())
    for name in names:
        if name not in known:
            raise UserError(f"unknown bin '{name}': known are {', '.join(known)} and all")
    return tuple(known[name] for name in known if name in names)


def custom_bin(low: int, high: int) -> Bin:
    """A bin given in bytes, never scaled."""
    return Bin(f"under-{high}" if not low else f"{low}-to-{high}", low, high)


def parse_bytes(text: str) -> int:
    """`1.5GB`, `500MB`, `1GiB`, `569412`: a size in bytes."""
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([kmg]?i?b?)", text.strip().lower())
    if match is None or match[2] not in UNITS:
        raise UserError(f"'{text}' is no size: write bytes, or a number with KB, MB, GB (1e9), MiB or GiB")
    return round(float(match[1].replace("_", "").replace(",", "")) * UNITS[match[2]])
