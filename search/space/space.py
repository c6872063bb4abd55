"""The space of policies of one model: an action for each unit, a drop for each layer, a vocabulary; and their bytes.

Plain arrays, so that allocating and sampling take milliseconds. A row is a unit, a column a level; a layer is a set
of rows that can be dropped together. A vocabulary changes the bytes of embedding and head, and of the auxiliary files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
    """Units, levels, layers, vocabularies and bytes. `sizes[u, l]` is infinite where unit u does not support level l;
    it holds under the first vocabulary, `sizes_under` gives those of each."""

    model: str  # digest of the original
    units: tuple[str, ...]
    levels: tuple[str, ...]
    layers: tuple[str, ...]
    sizes: np.ndarray  # bytes, [unit, level]
    layer_of: np.ndarray  # index of the unit's layer, -1 for none, [unit]
    unquantized: np.ndarray  # bytes of a layer's unquantized tensors, [layer]
    droppable: np.ndarray  # bool, [layer]
    calibration: str = ""  # digest of the statistics that levels are encoded with
    tied_units: tuple[tuple[str, ...], ...] = ()  # the model's units of each row, where rows are tied (groups.py)
    tied_layers: tuple[tuple[str, ...], ...] = ()
    vocabularies: tuple[str, ...] = (FULL,)
    trimmed_sizes: tuple[np.ndarray, ...] = ()  # as `sizes`, under each vocabulary but the first
    extra_file_bytes: tuple[float, ...] = (0.0,)  # of the auxiliary files, relative to the first one's, [vocabulary]

    def sizes_under(self, vocabulary: int) -> np.ndarray:
        """Bytes of every unit at every level under a vocabulary, [unit, level]."""
        return self.trimmed_sizes[vocabulary - 1] if vocabulary else self.sizes

    @cached_property
    def unit_rows(self) -> dict[str, int]:
        return {unit: row for row, unit in enumerate(self.units)}

    @cached_property
    def level_columns(self) -> dict[str, int]:
        return {level: column for column, level in enumerate(self.levels)}

    @cached_property
    def model_units(self) -> tuple[tuple[str, ...], ...]:
        """The model's units of each row."""
        return self.tied_units or tuple((unit,) for unit in self.units)

    @cached_property
    def model_layers(self) -> tuple[tuple[str, ...], ...]:
        """The model's layers of each layer of the space."""
        return self.tied_layers or tuple((layer,) for layer in self.layers)

    def choice(self, policy: Policy) -> Choice | None:
        """The policy as arrays; None for one that is not in this space."""
        if policy.vocabulary not in self.vocabularies:
            return None
        columns = np.zeros(len(self.units), dtype=int)
        for row, units in enumerate(self.model_units):
            levels = {policy.levels[unit] for unit in units if unit in policy.levels}
            if len(levels) > 1 or not levels <= set(self.level_columns):
                return None
            if levels:
                columns[row] = self.level_columns[levels.pop()]
                if not np.isfinite(self.sizes[row, columns[row]]):
                    return None
        dropped = np.array([set(layers) <= set(policy.dropped) for layers in self.model_layers], dtype=bool)
        choice = Choice(columns, dropped, self.vocabularies.index(policy.vocabulary))
        return choice if self.policy(choice).dropped == policy.dropped else None

    def policy(self, choice: Choice) -> Policy:
        layers = zip(self.model_layers, choice.dropped, strict=True)
        present = self.present(choice)
        return Policy(
            model=self.model,
            levels={
                unit: self.levels[choice.columns[row]]
                for row, units in enumerate(self.model_units)
                if present[row]
                for unit in units
            },
            dropped=tuple(name for names, dropped in layers if dropped for name in names),
            vocabulary=self.vocabularies[choice.vocabulary],
            calibration=self.calibration,
        )

    def parameters(self, choice: Choice) -> dict[str, str]:
        """The choice as Optuna parameters. A dropped layer's units keep a level, so that every trial has them all."""
        parameters = {
            f"drop {layer}": DROP if choice.dropped[index] else KEEP
            for index, layer in enumerate(self.layers)
            if self.droppable[index]
        }
        parameters |= {f"level {unit}": self.levels[choice.columns[row]] for row, unit in enumerate(self.units)}
        if len(self.vocabularies) > 1:
            parameters[VOCABULARY] = self.vocabularies[choice.vocabulary]
        return parameters

    def from_parameters(self, parameters: Mapping[str, str]) -> Choice:
        columns = np.array([self.level_columns[parameters[f"level {unit}"]] for unit in self.units], dtype=np.int16)
        dropped = np.array([parameters.get(f"drop {layer}") == DROP for layer in self.layers], dtype=bool)
        return Choice(columns, dropped, self.vocabularies.index(parameters.get(VOCABULARY, self.vocabularies[0])))

    def variable_bytes(self, choice: Choice) -> int:
        """The bytes that differ between choices: variants, unquantized tensors of the layers that stay, and the
        auxiliary files relative to the first vocabulary's. An artifact has nearly the same number more for each."""
        present = self.present(choice)
        chosen = self.sizes_under(choice.vocabulary)[np.arange(len(self.units)), choice.columns]
        unquantized = self.unquantized[~choice.dropped].sum()
        return int(chosen[present].sum() + unquantized + self.extra_file_bytes[choice.vocabulary])

    def key(self, choice: Choice) -> bytes:
        """Identity of the artifact: the level of a dropped unit makes no difference."""
        columns = np.where(self.present(choice), choice.columns, -1).astype(np.int16)
        return columns.tobytes() + np.packbits(choice.dropped).tobytes() + bytes([choice.vocabulary])

    def present(self, choice: Choice) -> np.ndarray:
        """Which units remain, [unit]."""
        dropped = np.append(choice.dropped, False)  # index -1 (no layer) reads the last one
        return ~dropped[self.layer_of]


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
    """From names: unit → its layer, (unit, level) → bytes, layer → bytes of its unquantized tensors."""
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
    """The space with several vocabularies to choose from. `space` has the sizes under the first; `trimmed` holds
    (unit, level) → bytes under each of the others, where they differ, and `files` the bytes of the auxiliary files
    under each. A unit supports a level only if it does under every vocabulary."""
    rows, columns = space.unit_rows, space.level_columns
    tables = [space.sizes.copy() for _ in names]
    for table, sizes in zip(tables[1:], trimmed, strict=True):
        for (unit, level), size in sizes.items():
            table[rows[unit], columns[level]] = size
    supported = np.isfinite(tables).all(axis=0)
    for row, unit in enumerate(space.units):
        if not supported[row].any():
            raise UserError(f"none of the levels {', '.join(space.levels)} fits unit {unit} under every vocabulary")
    first, *others = (np.where(supported, table, np.inf) for table in tables)
    extra = tuple(float(size - files[0]) for size in files)
    return replace(space, sizes=first, vocabularies=tuple(names), trimmed_sizes=tuple(others), extra_file_bytes=extra)
