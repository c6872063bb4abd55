"""The space of policies of one model: a treatment for each unit, a drop for each layer, with the bytes of each choice.

Plain arrays, so that allocating and sampling cost milliseconds. A row is a unit, a column a level; a layer is a set
of rows that may be dropped together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compress import Policy
from compress.errors import Refusal

KEEP, DROP = "keep", "drop"
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
    """Units, levels, layers and bytes. `sizes[u, l]` is infinite where level l does not fit unit u."""

    model: str  # digest of the original
    units: tuple[str, ...]
    levels: tuple[str, ...]
    layers: tuple[str, ...]
    sizes: np.ndarray  # bytes, [unit, level]
    layer_of: np.ndarray  # index of the unit's layer, -1 for none, [unit]
    kept: np.ndarray  # bytes of what a layer keeps beside its units, [layer]
    droppable: np.ndarray  # bool, [layer]
    calibration: str = ""  # digest of the statistics that levels are encoded with
    members: tuple[tuple[str, ...], ...] = ()  # the model's units of each row, where rows are tied (search.groups)
    layer_members: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def distributions(self) -> dict[str, Any]:
        """The policy as an Optuna search space: one categorical a unit, one a layer that may be dropped."""
        from optuna.distributions import CategoricalDistribution

        space: dict[str, Any] = {
            f"drop {layer}": CategoricalDistribution([KEEP, DROP])
            for layer, allowed in zip(self.layers, self.droppable, strict=True)
            if allowed
        }
        for row, unit in enumerate(self.units):
            fitting = [level for column, level in enumerate(self.levels) if np.isfinite(self.sizes[row, column])]
            space[f"level {unit}"] = CategoricalDistribution(fitting)
        return space

    @cached_property
    def unit_rows(self) -> dict[str, int]:
        return {unit: row for row, unit in enumerate(self.units)}

    @cached_property
    def level_columns(self) -> dict[str, int]:
        return {level: column for column, level in enumerate(self.levels)}

    def choice(self, policy: Policy) -> Choice | None:
        """The policy as arrays; None for one that is not in this space."""
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
        choice = Choice(columns, np.array(gone, dtype=bool))
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
        return Policy(model=self.model, levels=levels, dropped=dropped, calibration=self.calibration)

    def parameters(self, choice: Choice) -> dict[str, str]:
        """The choice as Optuna parameters. A dropped layer's units keep a level, so that every trial has them all."""
        found = {
            f"drop {layer}": DROP if choice.dropped[index] else KEEP
            for index, layer in enumerate(self.layers)
            if self.droppable[index]
        }
        found |= {f"level {unit}": self.levels[choice.columns[row]] for row, unit in enumerate(self.units)}
        return found

    def from_parameters(self, parameters: Mapping[str, str]) -> Choice:
        columns = np.array([self.level_columns[parameters[f"level {unit}"]] for unit in self.units])
        dropped = np.array([parameters.get(f"drop {layer}") == DROP for layer in self.layers], dtype=bool)
        return Choice(columns, dropped)

    def weigh(self, choice: Choice) -> int:
        """Bytes of the variants and of what the kept layers keep, without the fixed files."""
        present = self.present(choice)
        chosen = self.sizes[np.arange(len(self.units)), choice.columns]
        return int(chosen[present].sum() + self.kept[~choice.dropped].sum())

    def key(self, choice: Choice) -> bytes:
        """Identity of what is shipped: the level of a dropped unit makes no difference."""
        columns = np.where(self.present(choice), choice.columns, -1).astype(np.int16)
        return columns.tobytes() + np.packbits(choice.dropped).tobytes()

    def present(self, choice: Choice) -> np.ndarray:
        """Which units remain, [unit]."""
        gone = np.append(choice.dropped, False)  # index -1 (no layer) reads the last one
        return ~gone[self.layer_of]


@dataclass(frozen=True)
class Choice:
    """A level's column for each unit and a drop for each layer."""

    columns: np.ndarray
    dropped: np.ndarray


def make_space(
    model: str,
    units: Mapping[str, str | None],
    layers: Sequence[str],
    levels: Sequence[str],
    sizes: Mapping[tuple[str, str], int],
    kept: Mapping[str, int],
    droppable: Mapping[str, bool],
    calibration: str = "",
) -> Space:
    """From names: unit → its layer, (unit, level) → bytes, layer → bytes it keeps."""
    names = tuple(units)
    index = {layer: number for number, layer in enumerate(layers)}
    table = np.array([[sizes.get((unit, level), np.inf) for level in levels] for unit in names], dtype=float)
    for row, unit in enumerate(names):
        if not np.isfinite(table[row]).any():
            raise Refusal(f"none of the levels {', '.join(levels)} fits unit {unit}")
    return Space(
        model=model,
        units=names,
        levels=tuple(levels),
        layers=tuple(layers),
        sizes=table,
        layer_of=np.array([-1 if layer is None else index[layer] for layer in units.values()], dtype=int),
        kept=np.array([kept[layer] for layer in layers], dtype=float),
        droppable=np.array([droppable[layer] for layer in layers], dtype=bool),
        calibration=calibration,
    )
