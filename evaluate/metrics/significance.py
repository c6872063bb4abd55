"""The bootstrap over segments: the interval of one system's score, and whether two systems differ.

For two systems the same draws of segments are taken from both, so what a hard segment does to both cancels out (Koehn
2004, as in sacrebleu). Own code because sacrebleu's works on its own corpus metrics only, not on scores of segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compress.errors import UserError

RESAMPLES, SEED = 1000, 12345
LEVEL = 0.95
BLOCK = 4_000_000  # counts held in memory at once


def interval(scores: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Bootstrap interval of the mean over segments (percentiles of 1,000 fixed resamples)."""
    means = _shares(len(scores)) @ np.asarray(scores, dtype=np.float32)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _shares(size: int) -> np.ndarray:
    """Share of each segment in each draw, [RESAMPLES, size]: the same draws for every candidate."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(np.float32) / size


@dataclass(frozen=True)
class Paired:
    """Mean of first − second, its 95 % interval, and how likely so large a difference is if there is none."""

    difference: float
    low: float
    high: float
    p: float


def paired(first: Sequence[float], second: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> Paired:
    """Scores of the segments of two systems, in the same order. The same seed gives the same figures.

    The interval holds the percentiles of the resampled differences. p is two-sided: the share of resamples that lie
    at least as far from the observed difference as that lies from 0 (one is added to both counts, so it is never 0).
    """
    differences = _differences(first, second)
    if resamples < 1:
        raise UserError(f"{resamples} resamples: at least one is needed")
    observed = float(differences.mean())
    means = _resampled_means(differences, resamples, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    farther = int(np.count_nonzero(np.abs(means - observed) >= abs(observed)))
    return Paired(observed, float(low), float(high), (1 + farther) / (1 + resamples))


def _differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    if len(first) != len(second):
        raise UserError(f"a paired test needs the same segments: one system has {len(first)} scores, one {len(second)}")
    if not len(first):
        raise UserError("a paired test needs at least one segment")
    for name, scores in (("first", first), ("second", second)):
        bad = [index for index, score in enumerate(scores, start=1) if not math.isfinite(score)]
        if bad:
            raise UserError(f"the {name} system's score of segment {bad[0]} is not a number ({len(bad)} in all)")
    return np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)


def _resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Mean of `values` in each bootstrap draw; drawn in blocks, which gives the same draws as all at once."""
    generator = np.random.default_rng(seed)
    size = len(values)
    share = np.full(size, 1 / size)
    block = max(1, BLOCK // size)
    parts = []
    for start in range(0, resamples, block):
        counts = generator.multinomial(size, share, size=min(block, resamples - start))
        parts.append(counts @ values / size)
    return np.concatenate(parts)
