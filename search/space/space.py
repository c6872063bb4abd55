"""The space of policies of one model: a action for each unit, a drop for each layer, a vocabulary; and their bytes.

Plain arrays, so that allocating and sampling cost milliseconds. A row is a unit, a column a level; a layer is a set
of rows that may be dropped together. A vocabulary changes the bytes of what has a row a token, and of fixed files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compress import Policy
from compress.errors import UserError
from compress.model.vocabulary import FULL

KEEP, DROP = "keep", "drop"
VOCABULARY = "vocabulary"
DEFAULT_LEVELS = (
    "raw:bf16",
    "int8",
    "nf4",
    "digits:3",
    "digits:2",
    "grid@6",
    "grid@4",
    "grid@3",
    "grid@2.5",
    "grid@2.25",
    "grid@2",
    "grid@1.75",
    "grid@1.5",
    "grid@1.25",
    "grid@1",
)


@dataclass(frozen=True)
class Space:
    """Units, levels, layers, vocabularies and bytes. `sizes[u, l]` is infinite where level l does not fit unit u; it
    is under the first vocabulary, and `bytes_of` under each."""

    model: str  # digest of the original
    units: tuple[str, ...]
    levels: tuple[str, ...]
    layers: tuple[str, ...]
    sizes: np.ndarray  # bytes, [unit, level]
    layer_of: np.ndarray  # index of the unit's layer, -1 for none, [unit]
    unquantized: np.ndarray  # bytes of what a layer keeps beside its units, [layer]
    droppable: np.ndarray  # bool, [layer]
    calibration: str = ""  # digest of the statistics that levels are encoded with
    members: tuple[tuple[str, ...], ...] = ()  # the model's units of each row, where rows are tied (groups.py)
    layer_members: tuple[tuple[str, ...], ...] = ()
    vocabularies: tuple[str, ...] = (FULL,)
    trimmed: tuple[np.ndarray, ...] = ()  # as `sizes`, under each vocabulary but the first
    files: tuple[float, ...] = (0.0,)  # bytes that the fixed files have more than under the first, [vocabulary]

    def bytes_of(self, vocabulary: int) -> np.ndarray:
        """Bytes of every unit at every level under a vocabulary, [unit, level]."""
        return self.trimmed[vocabulary - 1] if vocabulary else self.sizes

    @cached_property
    def distributions(self) -> dict[str, Any]:
        """The policy as an Optuna search space: one categorical a unit, one a layer that may be dropped, and one for
        the vocabulary if there is more than one."""
        from optuna.distributions import CategoricalDistribution

        space: dict[str, Any] = {
            f"drop {layer}": CategoricalDistribution([KEEP, DROP])
            for layer, allowed in zip(self.layers, self.droppable, strict=True)
            if allowed
        }
        for row, unit in enumerate(self.units):
            fitting = [level for column, level in enumerate(self.levels) if np.isfinite(self.sizes[row, column])]
            space[f"level {unit}"] = CategoricalDistribution(fitting)
        if len(self.vocabularies) > 1:
            space[VOCABULARY] = CategoricalDistribution(self.vocabularies)
        return space

    @cached_property
    def unit_rows(self) -> dict[str, int]:
        return {unit: row for row, unit in enumerate(self.units)}

    @cached_property
    def level_columns(self) -> dict[str, int]:
        return {level: column for column, level in enumerate(self.levels)}

    def choice(self, policy: Policy) -> Choice | None:
        """The policy as arrays; None for one that is not in this space."""
        if policy.vocabulary not in self.vocabularies:
            return None
        columns = np.zeros(len(self.units), dtype=int)
        for row, units in enumerate(self.members or [(unit,) for unit in self.units]):
            levels = {policy.levels[unit] for unit in units if unit in policy.levels}
            if len(levels) > 1 or not levels <= set(self.level_columns):
                return None
            if levels:
                columns[row] = self.level_columns[levels.pop()]
                if not np.isfinite(self.sizes[row, columns[row]]):
                    return None
        gone = [set(layers) <= set(policy.dropped) for layers in self.layer_members or [(n,) for n in self.layers]]
        choice = Choice(columns, np.array(gone, dtype=bool), self.vocabularies.index(policy.vocabulary))
        return choice if self.policy(choice).dropped == policy.dropped else None

    def policy(self, choice: Choice) -> Policy:
        tied = self.layer_members or [(layer,) for layer in self.layers]
        dropped = tuple(name for layers, gone in zip(tied, choice.dropped, strict=True) if gone for name in layers)
        rows = self.members or [(unit,) for unit in self.units]
        levels = {
            unit: self.levels[choice.columns[row]]
            for row, units in enumerate(rows)
            if self.layer_of[row] < 0 or not choice.dropped[self.layer_of[row]]
            for unit in units
        }
        return Policy(
            model=self.model,
            levels=levels,
            dropped=dropped,
            vocabulary=self.vocabularies[choice.vocabulary],
            calibration=self.calibration,
        )

    def parameters(self, choice: Choice) -> dict[str, str]:
        """The choice as Optuna parameters. A dropped layer's units keep a level, so that every trial has them all."""
        found = {
            f"drop {layer}": DROP if choice.dropped[index] else KEEP
            for index, layer in enumerate(self.layers)
            if self.droppable[index]
        }
        found |= {f"level {unit}": self.levels[choice.columns[row]] for row, unit in enumerate(self.units)}
        if len(self.vocabularies) > 1:
            found[VOCABULARY] = self.vocabularies[choice.vocabulary]
        return found

    def from_parameters(self, parameters: Mapping[str, str]) -> Choice:
        columns = np.array([self.level_columns[parameters[f"level {unit}"]] for unit in self.units], dtype=np.int16)
        dropped = np.array([parameters.get(f"drop {layer}") == DROP for layer in self.layers], dtype=bool)
        return Choice(columns, dropped, self.vocabularies.index(parameters.get(VOCABULARY, self.vocabularies[0])))

    def weigh(self, choice: Choice) -> int:
        """Bytes of the variants and of what the kept layers keep; of the fixed files only what they have more than
        under the first vocabulary, so that the rest is nearly the same for all choices."""
        present = self.present(choice)
        chosen = self.bytes_of(choice.vocabulary)[np.arange(len(self.units)), choice.columns]
        return int(chosen[present].sum() + self.unquantized[~choice.dropped].sum() + self.files[choice.vocabulary])

    def key(self, choice: Choice) -> bytes:
        """Identity of what is shipped: the level of a dropped unit makes no difference."""
        columns = np.where(self.present(choice), choice.columns, -1).astype(np.int16)
        return columns.tobytes() + np.packbits(choice.dropped).tobytes() + bytes([choice.vocabulary])

    def present(self, choice: Choice) -> np.ndarray:
        """Which units remain, [unit]."""
        gone = np.append(choice.dropped, False)  # index -1 (no layer) reads the last one
        return ~gone[self.layer_of]


@dataclass(frozen=True)
class Choice:
    """A level's column for each unit, a drop for each layer, and which vocabulary."""

    columns: np.ndarray
    dropped: np.ndarray
    vocabulary: int = 0


def make_space(
    model: str,
    units: Mapping[str, str | None],
    layers: Sequence[str],
    levels: Sequence[str],
    sizes: Mapping[tuple[str, str], float],
    unquantized: Mapping[str, int],
    droppable: Mapping[str, bool],
    calibration: str = "",
) -> Space:
    """From names: unit → its layer, (unit, level) → bytes, layer → bytes it keeps."""
    names = tuple(units)
    index = {layer: number for number, layer in enumerate(layers)}
    table = np.array([[sizes.get((unit, level), np.inf) for level in levels] for unit in names], dtype=float)
    for row, unit in enumerate(names):
        if not np.isfinite(table[row]).any():
            raise UserError(f"none of the levels {', '.join(levels)} fits unit {unit}")
    return Space(
        model=model,
        units=names,
        levels=tuple(levels),
        layers=tuple(layers),
        sizes=table,
        layer_of=np.array([-1 if layer is None else index[layer] for layer in units.values()], dtype=int),
        unquantized=np.array([unquantized[layer] for layer in layers], dtype=float),
        droppable=np.array([droppable[layer] for layer in layers], dtype=bool),
        calibration=calibration,
    )


def with_vocabularies(
    space: Space, names: Sequence[str], trimmed: Sequence[Mapping[tuple[str, str], float]], files: Sequence[int]
) -> Space:
    """The space with a choice of vocabularies. `space` has the first; `trimmed` are (unit, level) → bytes under each of
    the others, where they differ, and `files` the bytes of the fixed files under each. A level fits a unit where it
    fits under every vocabulary."""
    rows, columns = space.unit_rows, space.level_columns
    tables = [space.sizes.copy() for _ in names]
    for table, sizes in zip(tables[1:], trimmed, strict=True):
        for (unit, level), size in sizes.items():
            table[rows[unit], columns[level]] = size
    fits = np.isfinite(tables).all(axis=0)
    for row, unit in enumerate(space.units):
        if not fits[row].any():
            raise UserError(f"none of the levels {', '.join(space.levels)} fits unit {unit} under every vocabulary")
    first, *others = (np.where(fits, table, np.inf) for table in tables)
    more = tuple(float(size - files[0]) for size in files)
    return replace(space, sizes=first, vocabularies=tuple(names), trimmed=tuple(others), files=more)
