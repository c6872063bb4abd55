"""Sensitivities: which actions are measured, and what is taken of the others.

Quick: each unit at two levels (the cheapest, and the one nearest two bits a weight), each layer dropped and each
smaller vocabulary; full: at every level. Whatever was measured once is kept in the store for every later run. Between
and beyond measured levels KL goes with the weight error: small noise does damage in proportion to its power, so
log KL is interpolated linearly over log error.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.jobs import DROP, LEVEL, TRIM
from compress import Store
from compress.errors import UserError
from compress.model import vocabulary
from results.atomic_write import write_atomically
from search.sampling.quality_model import Sensitivities
from search.space.space import Space

Action = tuple[str, str, str]  # (LEVEL, unit, level), (DROP, layer, "") or (TRIM, vocabulary, "")
QUICK, FULL = "quick", "full"
MIDDLE_BITS = 2.0
LEAST_KL = 1e-7
CRASH_KL = 20.0  # for actions whose outputs are not numbers


def plan(space: Space, weights: Mapping[str, int], full: bool = False) -> list[Action]:
    """The actions to measure: in quick mode two levels a unit, in full mode all of them; and every drop and trim.

    `weights` is the number of encoded weights of each unit.
    """
    chosen: list[Action] = []
    for row, unit in enumerate(space.units):
        sizes = space.sizes[row]
        fitting = np.flatnonzero(np.isfinite(sizes))
        bits = sizes[fitting] * 8 / max(weights[unit], 1)
        if full:
            chosen += [(LEVEL, unit, space.levels[column]) for column in fitting if not exact(space.levels[column])]
            continue
        picked = {int(fitting[bits.argmin()]), int(fitting[np.abs(bits - MIDDLE_BITS).argmin()])}
        chosen += [(LEVEL, unit, space.levels[column]) for column in sorted(picked) if not exact(space.levels[column])]
    drops = [layer for layer, allowed in zip(space.layers, space.droppable, strict=True) if allowed]
    trims = [name for name in space.vocabularies if name != vocabulary.FULL]
    return chosen + [(DROP, layer, "") for layer in drops] + [(TRIM, name, "") for name in trims]


def exact(level: str) -> bool:
    """Levels that change nothing worth measuring."""
    return level.startswith("raw:")


def key_of(parts: Sequence[str]) -> str:
    """Under which measurements are kept in the store for later runs."""
    return hashlib.blake2b("\n".join(["sensitivities", *parts]).encode(), digest_size=20).hexdigest()


class Kept:
    """Measurements in the store, for every later run on the same model, data and calibration, and in the run's folder.

    What two runs measure at once is merged at the next write; the loser of a race only measures again.
    """

    def __init__(self, store: Store, key: str, copy: Path) -> None:
        self.store, self.key, self.copy = store, key, copy

    def read(self, wanted: str) -> list[list[Any]]:
        """What is known already: here, in the store, or in the file that `wanted` names."""
        found = self._stored() + (parse(self.copy) if self.copy.exists() else [])
        if wanted not in (QUICK, FULL):
            found += parse(Path(wanted))
        return list({tuple(entry[:3]): entry for entry in found}.values())

    def write(self, measured: Sequence[Sequence[Any]]) -> None:
        entries = list({tuple(entry[:3]): list(entry) for entry in (*self._stored(), *measured)}.values())
        text = json.dumps(entries)
        write_atomically(self.copy, text)
        self.store.put(self.key, text.encode())

    def _stored(self) -> list[list[Any]]:
        payload = self.store.get(self.key)
        return [] if payload is None else list(json.loads(payload))


def check(wanted: str) -> None:
    """Refuses a file of sensitivities that cannot be read, before anything starts."""
    if wanted not in (QUICK, FULL):
        parse(Path(wanted))


def parse(path: Path) -> list[list[Any]]:
    """A file of sensitivities: [[kind, name, level, KL], …]."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        for kind, name, level, kl in entries:
            if kind not in (LEVEL, DROP, TRIM) or not isinstance(name, str) or not isinstance(level, str):
                raise ValueError(f"entry {[kind, name, level]}")
            float(kl)
    except FileNotFoundError:
        raise UserError(
            f"--sensitivities: {path} is missing; give quick, full, or the file of an earlier run"
        ) from None
    except (ValueError, TypeError) as error:
        raise UserError(f"--sensitivities: {path} is no file of sensitivities ({error})") from None
    return [list(entry) for entry in entries]


def chunks(actions: Sequence[Action], workers: int) -> list[list[Action]]:
    """Work in pieces: a few for each worker, so that progress shows and nobody waits long at the end."""
    size = max(1, min(12, math.ceil(len(actions) / (4 * max(workers, 1)))))
    return [list(actions[start : start + size]) for start in range(0, len(actions), size)]


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
    trims = [
        0.0 if name == vocabulary.FULL else max(measured.get((TRIM, name, ""), CRASH_KL), LEAST_KL)
        for name in space.vocabularies
    ]
    return Sensitivities(levels, drops, np.array(trims))
