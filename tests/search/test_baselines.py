"""Baselines: single drops are the original without one layer, of those that may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import compress
from compress.policy.recipes import original_policy
from search.baselines import single_drops, without
from search.space.space import make_space
from tests.compress.tiny import save_tiny


def test_single_drops_are_the_original_without_a_layer_that_may_go(tmp_path: Path) -> None:
    source = compress.Source.open(save_tiny(tmp_path))
    original = original_policy(source)
    layers = [layer.name for layer in source.structure.layers]
    units = {name: unit.layer for name, unit in source.structure.units.items()}
    may_go = {layer: layer.startswith("lm.") and layer != "lm.0" for layer in layers}
    sizes = {(unit, "grid@2"): 10.0 for unit in units}
    space = make_space(source.digest, units, layers, ["grid@2"], sizes, dict.fromkeys(layers, 0), may_go)
    found = single_drops(original, source.structure, space)
    assert set(found) == {f"drop:{layer}" for layer in layers if may_go[layer]}
    for name, policy in found.items():
        policy.check(source.structure, source.digest)
        assert policy.dropped == (name.removeprefix("drop:"),)
        assert all(policy.levels[unit] == original.levels[unit] for unit in policy.levels)
    nothing = replace(space, droppable=np.zeros(len(layers), dtype=bool))
    assert single_drops(original, source.structure, nothing) == {}
    assert without(original, source.structure, []) == original
