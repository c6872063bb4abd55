"""Rates by unit: a rate for each unit from the measured damage of encoding it alone (water-filling over units).

One more bit divides the noise of a weight by four, and small damages add up. So the total damage at a mean rate is
least if a weight of every unit does the same damage: a unit's rate is half the binary logarithm of a weight's damage at
a common rate, plus one constant for all units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from compress.codecs.grid.grid import HIGHEST, LOWEST
from compress.errors import UserError

STEP = 0.05  # of a rate
FLOOR = 1e-9  # smaller damages are measurement noise


def by_unit(
    damage: Mapping[str, Mapping[float, float]], weights: Mapping[str, int], rate: float, step: float = STEP
) -> dict[str, float]:
    """A rate for each unit, a multiple of `step`; the mean over all weights is `rate` bits or a little less.

    `damage[unit][r]` is the damage (such as KL) measured with only this unit encoded, at `r` bits. One rate is enough;
    several average out measurement noise. `weights[unit]` is the number of its encoded weights.
    """
    if not LOWEST <= rate <= HIGHEST:
        raise UserError(f"a mean rate of {rate:g} bits: give {LOWEST:g} to {HIGHEST:g}")
    if missing := sorted(set(weights) - {unit for unit, measured in damage.items() if measured}):
        raise UserError(f"no damage was measured for {', '.join(missing)}")
    if not weights:
        return {}
    total = sum(weights.values())
    relative = {unit: _sensitivity(damage[unit]) - math.log2(weights[unit]) / 2 for unit in weights}
    low, high = rate - max(relative.values()), HIGHEST - min(relative.values())
    for _ in range(60):  # bisection: the mean grows with the constant
        middle = (low + high) / 2
        mean = sum(_clamp(relative[unit] + middle, step) * weights[unit] for unit in weights) / total
        low, high = (middle, high) if mean <= rate else (low, middle)
    return {unit: _clamp(relative[unit] + low, step) for unit in weights}


def _sensitivity(measured: Mapping[float, float]) -> float:
    """Half the binary logarithm of the damage extrapolated to 0 bits, if each bit divides it by four."""
    values = [math.log2(max(value, FLOOR)) / 2 + rate for rate, value in measured.items()]
    return sum(values) / len(values)


def _clamp(rate: float, step: float) -> float:
    return max(LOWEST, round(math.floor(min(HIGHEST, rate) / step + 1e-9) * step, 6))
