"""Bins: half-open ranges of bytes, as the shared task of 2025 cut them. A boundary value belongs to the larger bin.

A model that is not full-size has bins in proportion to its original bytes, so that the embedded model is pressed
as hard as Qwen2-Audio is. GB = 1e9 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compress.errors import Refusal
from results import bins as cut
from search.config import Config


@dataclass(frozen=True)
class Bin:
    """Bytes from `low` (inclusive) to `high` (exclusive)."""

    name: str
    low: int
    high: int

    def holds(self, size: int) -> bool:
        return self.low <= size < self.high


def scale_for(original_bytes: int) -> float:
    """1 for full-size models, else the model's share of the full size."""
    return cut.scale_for(original_bytes)


def all_bins(original_bytes: int) -> tuple[Bin, ...]:
    return tuple(Bin(*each) for each in cut.bins_of(original_bytes))


def parse_bins(names: Sequence[str], original_bytes: int) -> tuple[Bin, ...]:
    """The bins named, `all` for every one."""
    known = {each.name: each for each in all_bins(original_bytes)}
    if "all" in names:
        return tuple(known.values())
    for name in names:
        if name not in known:
            raise Refusal(f"unknown bin '{name}': known are {', '.join(known)} and all")
    return tuple(known[name] for name in known if name in names)


def custom_bin(low: int, high: int) -> Bin:
    """--min-bytes and --max-bytes, as they were given: never scaled."""
    return Bin(f"under-{high}" if not low else f"{low}-to-{high}", low, high)


def bins_of(config: Config, original_bytes: int) -> tuple[Bin, ...]:
    """Of a run: those named, or the one given in bytes."""
    if config.max_bytes is not None:
        return (custom_bin(config.min_bytes or 0, config.max_bytes),)
    return parse_bins(config.bins, original_bytes)


def bin_of(size: int, original_bytes: int) -> str:
    """Name of the bin a size falls into, '-' for none (4 GB and above at full size)."""
    return cut.bin_of(size, original_bytes)
