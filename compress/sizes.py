"""The bins of IWSLT 2025, in bytes on disk: lower bound inclusive, upper exclusive, GB = 1e9 bytes."""

from __future__ import annotations

BINS: dict[str, tuple[int, int]] = {
    "Bin1": (2_000_000_000, 4_000_000_000),
    "Bin2": (1_000_000_000, 2_000_000_000),
    "Bin3": (500_000_000, 1_000_000_000),
    "Bin4": (200_000_000, 500_000_000),
    "Bin5": (0, 200_000_000),
}


def bin_of(nbytes: int) -> str:
    """The bin a size falls in; 'none' from 4 GB."""
    return next((name for name, (low, high) in BINS.items() if low <= nbytes < high), "none")
