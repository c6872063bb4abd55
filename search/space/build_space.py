"""The space of policies of a model, with exact bytes, from what was encoded."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import compress
from compress.errors import UserError
from compress.model.vocabulary import FULL
from search.space.space import Space, make_space, with_vocabularies


def space_of_model(
    source: compress.Source,
    ledger: compress.Ledger,
    encoded: Collection[tuple[str, str]],
    levels: Sequence[str],
    frozen: Mapping[str, str],
    vocabularies: Sequence[str],
    drop: bool,
    calibration: str,
) -> Space:
    """Every unit at every level that was encoded, `frozen` units at the level they have."""
    structure = source.structure
    levels = list(dict.fromkeys([*levels, *frozen.values()]))
    choices = {unit: [frozen[unit]] if unit in frozen else levels for unit in structure.units}
    first, *others = vocabularies
    frozen_layers = {structure.unit(unit).layer for unit in frozen}
    space = make_space(
        model=source.digest,
        units={name: unit.layer for name, unit in structure.units.items()},
        layers=[layer.name for layer in structure.layers],
        levels=levels,
        sizes=_sizes(ledger, encoded, choices, first),
        unquantized={layer.name: ledger.unquantized_bytes(layer.name) for layer in structure.layers},
        # The first layer of a stack always stays: a stack cannot be empty, and no model survives without it.
        droppable={
            layer.name: drop and layer.index > 0 and layer.name not in frozen_layers for layer in structure.layers
        },
        calibration=calibration,
    )
    rows = {
        unit: supported for unit, supported in choices.items() if structure.unit(unit).kind in ("embedding", "head")
    }
    trimmed = [_sizes(ledger, encoded, rows, name) for name in others]
    return with_vocabularies(space, vocabularies, trimmed, [ledger.aux_bytes(name) for name in vocabularies])


def _sizes(
    ledger: compress.Ledger, encoded: Collection[tuple[str, str]], choices: Mapping[str, list[str]], vocabulary: str
) -> dict[tuple[str, str], float]:
    """Bytes of units at levels under a vocabulary; infinite where a level fits nothing but the whole unit."""
    sizes: dict[tuple[str, str], float] = {}
    for unit, levels in choices.items():
        for level in levels:
            if (unit, level) in encoded:
                try:
                    sizes[unit, level] = ledger.size(unit, level, vocabulary)
                except UserError:
                    if vocabulary == FULL:  # it was encoded, and is gone
                        raise
                    sizes[unit, level] = math.inf
    return sizes
