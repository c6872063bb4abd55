"""The bins of one model, and sizes as people write them. A boundary value belongs to the larger bin, GB = 1e9 bytes.

A model that is not full-size has bins in proportion to its original bytes (a search uses these too).
"""

from __future__ import annotations

import re

from compress.errors import Refusal
from compress.sizes import BINS

BinRange = tuple[str, int, int]  # name, bytes from, bytes below
FULL_SIZE = 16_794_189_824  # Qwen2-Audio-7B in bf16, the model the bins were made for
NEAR_FULL_SIZE = 0.5  # from half of that on the bins are taken as they are
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def scale_for(original_bytes: int) -> float:
    """1 for full-size models, else the model's share of the full size."""
    return 1.0 if original_bytes >= NEAR_FULL_SIZE * FULL_SIZE else original_bytes / FULL_SIZE


def bins_of(original_bytes: int) -> tuple[BinRange, ...]:
    """Every bin of a model of so many bytes."""
    scale = scale_for(original_bytes)
    return tuple((name, round(low * scale), round(high * scale)) for name, (low, high) in BINS.items())


def bin_of(size: int, original_bytes: int) -> str:
    """Name of the bin a size falls into, '-' for none (4 GB and above at full size)."""
    return next((name for name, low, high in bins_of(original_bytes) if low <= size < high), "-")


def named(name: str, bins: tuple[BinRange, ...]) -> BinRange:
    found = next((each for each in bins if each[0] == name), None)
    if found is None:
        raise Refusal(f"unknown bin '{name}': known are {', '.join(each[0] for each in bins)}")
    return found


def parse_bytes(text: str) -> int:
    """`1.5GB`, `500MB`, `1GiB`, `569412`: a size in bytes."""
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([kmg]?i?b?)", text.strip().lower())
    if match is None or match[2] not in UNITS:
        raise Refusal(f"'{text}' is no size: write bytes, or a number with KB, MB, GB (1e9), MiB or GiB")
    return round(float(match[1].replace("_", "").replace(",", "")) * UNITS[match[2]])
