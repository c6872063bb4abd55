"""Sensitivities: the KL of each action alone; which are measured, how they are cached, and how the rest is estimated.

Quick: each unit at two levels (the smallest, and the one nearest two bits a weight), each layer dropped and each
smaller vocabulary; full: at every level. Measurements are kept in the store for later runs. Between and beyond
measured levels KL follows the weight error: small noise does damage in proportion to its power, so log KL is
interpolated linearly over log error.
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
from results.run_files import read_json, write_file
from results.runs import JOINT
from search.space.allocate import ActionCosts
from search.space.space import Space

# (LEVEL, unit, level), (DROP, layer, "") or (TRIM, vocabulary, ""); tied units and layers are joined by JOINT
Action = tuple[str, str, str]
QUICK, FULL = "quick", "full"
MIDDLE_BITS = 2.0
LEAST_KL = 1e-7
CRASH_KL = 20.0  # for actions whose outputs are not numbers, and drops and trims that were not measured


def actions_to_measure(space: Space, weights: Mapping[str, int], full: bool = False) -> list[Action]:
    """In quick mode two levels a unit, in full mode all of them; and every drop and trim. Tied units are measured
    together, as they are changed.

    `weights` is the number of encoded weights of each unit of the model.
    """
    levels: list[Action] = []
    for row, units in enumerate(space.model_units):
        sizes = space.sizes[row]
        columns = np.flatnonzero(np.isfinite(sizes))
        if not full:
            bits = sizes[columns] * 8 / max(sum(weights[unit] for unit in units), 1)
            smallest, middle = bits.argmin(), np.abs(bits - MIDDLE_BITS).argmin()
            columns = np.unique(columns[[smallest, middle]])
        name = JOINT.join(units)
        levels += [(LEVEL, name, space.levels[column]) for column in columns if not _negligible(space.levels[column])]
    layers = zip(space.model_layers, space.droppable, strict=True)
    drops = [JOINT.join(tied) for tied, allowed in layers if allowed]
    trims = [name for name in space.vocabularies if name != vocabulary.FULL]
    return levels + [(DROP, layer, "") for layer in drops] + [(TRIM, name, "") for name in trims]


def _negligible(level: str) -> bool:
    """Levels that change nothing worth measuring."""
    return level.startswith("raw:")


def split_actions(actions: Sequence[Action], workers: int) -> list[list[Action]]:
    """Actions in jobs: a few for each worker, so that progress is visible and no worker is late at the end."""
    size = max(1, min(12, math.ceil(len(actions) / (4 * max(workers, 1)))))
    return [list(actions[start : start + size]) for start in range(0, len(actions), size)]


def cache_key(parts: Sequence[str]) -> str:
    """Key of the measurements in the store."""
    return hashlib.blake2b("\n".join(["sensitivities", *parts]).encode(), digest_size=20).hexdigest()


class SensitivityCache:
    """Measurements in the store, for later runs on the same model, data and calibration, and in the run's folder.

    Measurements of two runs at the same time are merged at the next write; the loser of a race only measures again.
    """

    def __init__(self, store: Store, key: str, copy: Path) -> None:
        self.store, self.key, self.copy = store, key, copy

    def read(self, option: str) -> list[list[Any]]:
        """Everything known: of the store, of the run's folder, and of the file if --sensitivities names one."""
        entries = self._stored() + (read_sensitivities(self.copy) if self.copy.exists() else [])
        if option not in (QUICK, FULL):
            entries += read_sensitivities(Path(option))
        return _merged(entries)

    def write(self, measured: Sequence[Sequence[Any]]) -> None:
        text = json.dumps(_merged([*self._stored(), *measured]))
        write_file(self.copy, text)
        self.store.put(self.key, text.encode())

    def _stored(self) -> list[list[Any]]:
        payload = self.store.get(self.key)
        return [] if payload is None else list(json.loads(payload))


def _merged(entries: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """One entry an action, the last one."""
    return list({tuple(entry[:3]): list(entry) for entry in entries}.values())


def check_option(option: str) -> None:
    """Refuses a --sensitivities file that cannot be read, before anything starts."""
    if option in (QUICK, FULL):
        return
    if not Path(option).exists() and not Path(option).suffix and len(Path(option).parts) < 2:
        raise UserError(f"--sensitivities {option}: give quick, full, or the sensitivities.json of an earlier run")
    read_sensitivities(Path(option))


def read_sensitivities(path: Path) -> list[list[Any]]:
    """A file of sensitivities: [[kind, name, level, KL], …]."""
    if not path.exists():
        raise UserError(f"--sensitivities: {path} is missing; give quick, full, or the file of an earlier run")
    entries = read_json(path, "--sensitivities")
    try:
        for kind, name, level, kl in entries:
            if kind not in (LEVEL, DROP, TRIM) or not isinstance(name, str) or not isinstance(level, str):
                raise ValueError(f"entry {[kind, name, level]}")
            float(kl)
    except (ValueError, TypeError) as error:
        raise UserError(f"--sensitivities: {path} is no file of sensitivities ({error})") from None
    return [list(entry) for entry in entries]


def interpolate_kl(points: Iterable[tuple[float, float]], errors: np.ndarray) -> np.ndarray:
    """KL at every error from measured (error, KL) points: log-log linear between them, proportional beyond."""
    measured = sorted({error: max(kl, LEAST_KL) for error, kl in points if error > 0}.items())
    if not measured:
        return np.full_like(errors, LEAST_KL)
    x, y = np.log([error for error, _ in measured]), np.log([kl for _, kl in measured])
    log_errors = np.log(np.maximum(errors, 1e-12))
    between = np.interp(log_errors, x, y)
    below = np.minimum(log_errors - x[0], 0.0)  # slope 1: KL proportional to the error
    above = np.maximum(log_errors - x[-1], 0.0)
    return np.where(errors <= 0, 0.0, np.exp(between + below + above))


def sensitivity_table(
    space: Space, errors: Mapping[tuple[str, str], float], entries: Sequence[Sequence[Any]]
) -> ActionCosts:
    """KL of every action from the measured entries. `errors` is the relative weight error of each (unit, level)."""
    measured: dict[tuple[str, str, str], float] = {}
    for kind, name, level, kl in entries:
        measured[(kind, name, level)] = max(kl, LEAST_KL) if math.isfinite(kl) else CRASH_KL
    levels = np.zeros_like(space.sizes)
    for row, units in enumerate(space.model_units):
        name = JOINT.join(units)
        unit_errors = np.array(
            [float(np.mean([errors.get((unit, level), 0.0) for unit in units])) for level in space.levels]
        )
        known = {c: measured[key] for c, level in enumerate(space.levels) if (key := (LEVEL, name, level)) in measured}
        levels[row] = interpolate_kl([(unit_errors[column], kl) for column, kl in known.items()], unit_errors)
        for column, kl in known.items():
            levels[row, column] = kl
    drops = np.array([measured.get((DROP, JOINT.join(layers), ""), CRASH_KL) for layers in space.model_layers])
    measured[(TRIM, vocabulary.FULL, "")] = 0.0
    trims = [measured.get((TRIM, name, ""), CRASH_KL) for name in space.vocabularies]
    return ActionCosts(levels, drops, np.array(trims))
