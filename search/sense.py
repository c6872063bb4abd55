"""Sensitivities: which treatments are measured, and what is taken of the others.

Quick: each unit at two levels (the cheapest, and the one nearest two bits a weight) and each layer dropped. Between
and beyond measured levels KL goes with the weight error: small noise does damage in proportion to its power, so
log KL is interpolated linearly over log error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cluster.jobs import DROP, LEVEL
from search.damage import Sensitivities
from search.space import Space

Treatment = tuple[str, str, str]  # (LEVEL, unit, level) or (DROP, layer, "")
MIDDLE_BITS = 2.0
LEAST_KL = 1e-7
CRASH_KL = 20.0  # for treatments whose outputs are not numbers


def plan(space: Space, weights: Mapping[str, int]) -> list[Treatment]:
    """The treatments to measure in quick mode. `weights` is the number of encoded weights of each unit."""
    chosen: list[Treatment] = []
    for row, unit in enumerate(space.units):
        sizes = space.sizes[row]
        fitting = np.flatnonzero(np.isfinite(sizes))
        bits = sizes[fitting] * 8 / max(weights[unit], 1)
        picked = {int(fitting[bits.argmin()]), int(fitting[np.abs(bits - MIDDLE_BITS).argmin()])}
        chosen += [(LEVEL, unit, space.levels[column]) for column in sorted(picked)]
    drops = [layer for layer, allowed in zip(space.layers, space.droppable, strict=True) if allowed]
    return chosen + [(DROP, layer, "") for layer in drops]


def chunks(treatments: Sequence[Treatment], workers: int) -> list[list[Treatment]]:
    """Work in pieces: a few for each worker, so that progress shows and nobody waits long at the end."""
    size = max(1, min(12, math.ceil(len(treatments) / (4 * max(workers, 1)))))
    return [list(treatments[start : start + size]) for start in range(0, len(treatments), size)]


def fill_in(points: Iterable[tuple[float, float]], errors: np.ndarray) -> np.ndarray:
    """KL at every error from measured (error, KL) points: log-log linear between them, proportional beyond."""
    known = sorted({error: max(kl, LEAST_KL) for error, kl in points if error > 0}.items())
    if not known:
        return np.full_like(errors, LEAST_KL)
    x, y = np.log([error for error, _ in known]), np.log([kl for _, kl in known])
    asked = np.log(np.maximum(errors, 1e-12))
    inner = np.interp(asked, x, y)
    below = np.minimum(asked - x[0], 0.0)  # slope 1: KL proportional to the error
    above = np.maximum(asked - x[-1], 0.0)
    return np.where(errors <= 0, 0.0, np.exp(inner + below + above))


def sensitivities(
    space: Space, errors: Mapping[tuple[str, str], float], sensed: Sequence[Sequence[Any]]
) -> Sensitivities:
    """The whole table from what was measured. `errors` is the relative weight error of each (unit, level)."""
    measured: dict[tuple[str, str, str], float] = {}
    for kind, name, level, kl in sensed:
        measured[(kind, name, level)] = kl if math.isfinite(kl) else CRASH_KL
    levels = np.zeros_like(space.sizes)
    for row, unit in enumerate(space.units):
        known = np.array([errors.get((unit, level), 0.0) for level in space.levels])
        points = [
            (known[column], measured[(LEVEL, unit, level)])
            for column, level in enumerate(space.levels)
            if (LEVEL, unit, level) in measured
        ]
        levels[row] = fill_in(points, known)
        for column, level in enumerate(space.levels):
            if (LEVEL, unit, level) in measured:
                levels[row, column] = max(measured[(LEVEL, unit, level)], LEAST_KL)
    drops = np.array([max(measured.get((DROP, layer, ""), CRASH_KL), LEAST_KL) for layer in space.layers])
    return Sensitivities(levels, drops)
