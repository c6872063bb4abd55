"""--groups: units tied together, so that the space is smaller. A tied space is a space whose rows are several units."""

from __future__ import annotations

import numpy as np

from compress.errors import UserError
from search.sampling.quality_model import Sensitivities
from search.space.space import Space


def rows_of(space: Space, how: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Names → rows and names → layers that are tied. `layer`: all units of a layer; N: N neighbouring layers alike."""
    layers = {name: [index] for index, name in enumerate(space.layers)}
    if how == "layer":
        rows: dict[str, list[int]] = {}
        for row, unit in enumerate(space.units):
            at = int(space.layer_of[row])
            rows.setdefault(unit if at < 0 else space.layers[at], []).append(row)
        return rows, layers
    count = int(how)
    stacks: dict[str, list[int]] = {}
    for index, name in enumerate(space.layers):
        stacks.setdefault(name.rpartition(".")[0], []).append(index)
    tied: dict[str, list[int]] = {}
    for stack, members in stacks.items():
        for start in range(0, len(members), count):
            part = members[start : start + count]
            first, last = (space.layers[index].rpartition(".")[2] for index in (part[0], part[-1]))
            tied[f"{stack}.{first}" if len(part) == 1 else f"{stack}.{first}-{last}"] = part
    group_of = {index: name for name, part in tied.items() for index in part}
    rows = {}
    for row, unit in enumerate(space.units):
        at = int(space.layer_of[row])
        name = unit if at < 0 else group_of[at] + unit[len(space.layers[at]) :]
        rows.setdefault(name, []).append(row)
    return rows, tied


def tie(space: Space, how: str) -> Space:
    """The tied space: bytes of a row are the sum over its units, layers of a group are dropped together."""
    if not how:
        return space
    rows, layers = rows_of(space, how)
    group_of = {index: number for number, part in enumerate(layers.values()) for index in part}
    sizes, *trimmed = (
        np.array([space.bytes_of(vocabulary)[members].sum(axis=0) for members in rows.values()])
        for vocabulary in range(len(space.vocabularies))
    )
    for name, row in zip(rows, sizes, strict=True):
        if not np.isfinite(row).any():
            raise UserError(f"--groups {how}: no level fits all units of {name}; add a level that does, or do not tie")
    at = [int(space.layer_of[members[0]]) for members in rows.values()]
    return Space(
        model=space.model,
        units=tuple(rows),
        levels=space.levels,
        layers=tuple(layers),
        sizes=sizes,
        layer_of=np.array([-1 if index < 0 else group_of[index] for index in at], dtype=int),
        unquantized=np.array([space.unquantized[part].sum() for part in layers.values()]),
        droppable=np.array([bool(space.droppable[part].all()) for part in layers.values()]),
        calibration=space.calibration,
        members=tuple(tuple(space.units[row] for row in members) for members in rows.values()),
        layer_members=tuple(tuple(space.layers[index] for index in part) for part in layers.values()),
        vocabularies=space.vocabularies,
        trimmed=tuple(trimmed),
        files=space.files,
    )


def tie_sensitivities(space: Space, sensitivities: Sensitivities, how: str) -> Sensitivities:
    """Of a tied row: the sum over its units."""
    if not how:
        return sensitivities
    rows, layers = rows_of(space, how)
    return Sensitivities(
        np.array([sensitivities.levels[members].sum(axis=0) for members in rows.values()]),
        np.array([sensitivities.drops[part].sum() for part in layers.values()]),
        sensitivities.trims,
    )
