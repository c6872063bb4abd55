"""What a search is compared with in the same run: the model as it is, the published recipes, and uniform levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import compress
from compress import Policy
from compress.errors import UserError
from compress.model.structure import Structure
from compress.policy.recipes import recipe, recipe_names
from search.space.space import Space


def uniform(source: compress.Source, level: str) -> Policy:
    """Every unit at one level."""
    return Policy(model=source.digest, levels=dict.fromkeys(source.structure.units, level))


def baselines(source: compress.Source, levels: Sequence[str]) -> dict[str, Policy]:
    """Recipe name → policy. Recipes made for another shape of model (`moslem-de`: 32 layers) are left out."""
    policies: dict[str, Policy] = {}
    for name in recipe_names():
        if name != name.lower():
            continue  # `drop:LIST` and the like are forms, not recipes
        try:
            policies[name] = recipe(name, source.structure, source.digest)
        except UserError:
            continue
    for level in levels:
        if not level.startswith("raw:"):
            policies.setdefault(f"uniform:{level}", uniform(source, level))
    return policies


def without(original: Policy, structure: Structure, dropped: Sequence[str]) -> Policy:
    """The original without some of its layers."""
    gone = {unit for layer in structure.layers if layer.name in dropped for unit in layer.units}
    levels = {unit: level for unit, level in original.levels.items() if unit not in gone}
    return replace(original, levels=levels, dropped=tuple(dropped))


def single_drops(original: Policy, structure: Structure, space: Space) -> dict[str, Policy]:
    """`drop:LAYER` → the original without that layer, of every layer that may go."""
    may_go = [layer for layer, allowed in zip(space.layers, space.droppable, strict=True) if allowed]
    return {f"drop:{layer}": without(original, structure, [layer]) for layer in may_go}
