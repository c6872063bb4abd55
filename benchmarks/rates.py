"""Rates by unit: where bits do most good, from what each unit alone was measured to cost.

A bit more of a weight makes the noise on it four times smaller, and small damages add up. So the least damage at a mean
rate is had where a weight of every unit does the same damage: its rate is half the binary logarithm of what it does at
a common rate, up to one constant (water-filling, over units).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from compress.codecs.grid.grid import HIGHEST, LOWEST
from compress.errors import UserError

STEP = 0.05  # of a rate
FLOOR = 1e-9  # damages below it are noise of the measurement


def by_unit(
    damage: Mapping[str, Mapping[float, float]], weights: Mapping[str, int], rate: float, step: float = STEP
) -> dict[str, float]:
    """A rate for each unit, multiples of `step`, so that a weight has `rate` bits on average or a little less.

    `damage[unit][r]` is what was measured (KL, say) with this unit alone at `r` bits; one rate is enough, with several
    the scatter of single measurements evens out. `weights[unit]` counts its encoded weights.
    """
    if not LOWEST <= rate <= HIGHEST:
        raise UserError(f"a mean rate of {rate:g} bits: give {LOWEST:g} to {HIGHEST:g}")
    if missing := sorted(set(weights) - {unit for unit, found in damage.items() if found}):
        raise UserError(f"no damage was measured for {', '.join(missing)}")
    if not weights:
        return {}
    total = sum(weights.values())
    wish = {unit: _strength(damage[unit]) - math.log2(weights[unit]) / 2 for unit in weights}
    low, high = rate - max(wish.values()), HIGHEST - min(wish.values())
    for _ in range(60):  # the mean grows with what is added to all
        middle = (low + high) / 2
        mean = sum(_held(wish[unit] + middle, step) * weights[unit] for unit in weights) / total
        low, high = (middle, high) if mean <= rate else (low, middle)
    return {unit: _held(wish[unit] + low, step) for unit in weights}


def _strength(measured: Mapping[float, float]) -> float:
    """Half the logarithm of the damage at no bits, if it fell fourfold with each bit."""
    found = [math.log2(max(value, FLOOR)) / 2 + rate for rate, value in measured.items()]
    return sum(found) / len(found)


def _held(wish: float, step: float) -> float:
    return max(LOWEST, round(math.floor(min(HIGHEST, wish) / step + 1e-9) * step, 6))
