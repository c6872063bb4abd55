"""What a search is compared with in the same run: the model as it is, the published recipes, and uniform levels."""

from __future__ import annotations

from collections.abc import Sequence

import compress
from compress import Policy
from compress.errors import Refusal


def uniform(source: compress.Source, level: str) -> Policy:
    """Every unit at one level."""
    return Policy(model=source.digest, levels=dict.fromkeys(source.anatomy.units, level))


def baselines(source: compress.Source, levels: Sequence[str]) -> dict[str, Policy]:
    """Recipe name → policy. Recipes made for another shape of model (`moslem-de`: 32 layers) are left out."""
    found: dict[str, Policy] = {}
    for name in compress.recipes.names():
        if name != name.lower():
            continue  # `drop:LIST` and the like are forms, not recipes
        try:
            found[name] = compress.recipes.recipe(name, source.anatomy, source.digest)
        except Refusal:
            continue
    for level in levels:
        if not level.startswith("raw:"):
            found.setdefault(f"uniform:{level}", uniform(source, level))
    return found
