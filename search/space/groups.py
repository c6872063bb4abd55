"""--groups: units tied together, so that the space is smaller. A row of a tied space is several units of the model."""

from __future__ import annotations

import numpy as np

from compress.errors import UserError
from search.space.space import Space


def tied_rows(space: Space, groups: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Name → rows and name → layers that are tied. `layer` ties all units of a layer, N ties N neighbouring layers."""
    layers = {name: [index] for index, name in enumerate(space.layers)}
    if groups == "layer":
        rows: dict[str, list[int]] = {}
        for row, unit in enumerate(space.units):
            layer = int(space.layer_of[row])
            rows.setdefault(unit if layer < 0 else space.layers[layer], []).append(row)
        return rows, layers
    count = int(groups)
    stacks: dict[str, list[int]] = {}
    for index, name in enumerate(space.layers):
        stacks.setdefault(name.rpartition(".")[0], []).append(index)
    tied: dict[str, list[int]] = {}
    for stack, members in stacks.items():
        for start in range(0, len(members), count):
            group = members[start : start + count]
            first, last = (space.layers[index].rpartition(".")[2] for index in (group[0], group[-1]))
            tied[f"{stack}.{first}" if len(group) == 1 else f"{stack}.{first}-{last}"] = group
    name_of = {index: name for name, group in tied.items() for index in group}
    rows = {}
    for row, unit in enumerate(space.units):
        layer = int(space.layer_of[row])
        name = unit if layer < 0 else name_of[layer] + unit[len(space.layers[layer]) :]
        rows.setdefault(name, []).append(row)
    return rows, tied


def tie(space: Space, groups: str) -> Space:
    """The tied space: bytes of a row are the sum over its units, layers of a group are dropped together."""
    if not groups:
        return space
    rows, layers = tied_rows(space, groups)
    number_of = {index: number for number, group in enumerate(layers.values()) for index in group}
    sizes, *trimmed = (
        np.array([space.sizes_under(vocabulary)[members].sum(axis=0) for members in rows.values()])
        for vocabulary in range(len(space.vocabularies))
    )
    for name, row in zip(rows, sizes, strict=True):
        if not np.isfinite(row).any():
            raise UserError(
                f"--groups {groups}: no level fits all units of {name}; add a level that does, or do not tie"
            )
    layer_of_first = [int(space.layer_of[members[0]]) for members in rows.values()]
    return Space(
        model=space.model,
        units=tuple(rows),
        levels=space.levels,
        layers=tuple(layers),
        sizes=sizes,
        layer_of=np.array([-1 if index < 0 else number_of[index] for index in layer_of_first], dtype=int),
        unquantized=np.array([space.unquantized[group].sum() for group in layers.values()]),
        droppable=np.array([bool(space.droppable[group].all()) for group in layers.values()]),
        calibration=space.calibration,
        tied_units=tuple(tuple(space.units[row] for row in members) for members in rows.values()),
        tied_layers=tuple(tuple(space.layers[index] for index in group) for group in layers.values()),
        vocabularies=space.vocabularies,
        trimmed_sizes=tuple(trimmed),
        extra_file_bytes=space.extra_file_bytes,
    )
