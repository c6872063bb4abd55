"""How much a run has to do in each phase, from its settings and the model's structure: for the plan, and for the time
that is left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import compress
from cluster.jobs import KL
from compress.policy.recipes import recipe_names
from search.config import Config
from search.iterative_pruning import IterativePruning, lm_layers
from search.sampling.sensitivity import FULL
from search.space.space import DEFAULT_LEVELS

KL_SHARE = 0.15  # of the seconds that translating takes: what a divergence on as many segments takes
FULL_SHARE = 0.3  # of the candidates, how many are scored on all segments where the others are pruned at their KL


@dataclass(frozen=True)
class Workload:
    """Counts; recipes and sensitivities are upper bounds, because some may be known or lie far from the bins."""

    encodings: int
    units: int  # that may change
    layers: int  # that may be dropped
    sensitivities: int
    recipes: int
    drops: int  # of single layers, with --score-drops
    pruning: int  # evaluations of iterative pruning
    trials: int
    full: int  # of the trials, about how many are scored on all segments

    @classmethod
    def of(cls, config: Config, structure: compress.Structure, frozen: Collection[str]) -> Workload:
        levels = config.levels or DEFAULT_LEVELS
        units = len(structure.units) - len(frozen)
        layers = sum(layer.index > 0 for layer in structure.layers) if config.drop else 0
        measured_units, measured_layers = _tied(structure, config.groups) if config.groups else (units, layers)
        actions = measured_units * (len(levels) if config.sensitivities == FULL else 2)
        actions += measured_layers if config.drop else 0
        decoder = lm_layers(structure) if any(layer.stack == "lm" for layer in structure.layers) else ()
        rounds = len(decoder) // 4 if config.baselines and config.drop else 0
        prunes = rounds >= 1 and len(decoder) - 2 >= rounds
        return cls(
            encodings=len(structure.units) * len(levels),
            units=units,
            layers=layers,
            sensitivities=actions + max(len(config.vocabulary) - 1, 0),
            recipes=len(recipe_names()) + len(levels) if config.baselines else 0,
            drops=layers if config.score_drops else 0,
            pruning=IterativePruning(decoder, rounds=rounds).evaluations if prunes else 0,
            trials=config.trials,
            full=round(config.trials * FULL_SHARE) if KL in config.rungs else config.trials,
        )


def _tied(structure: compress.Structure, groups: str) -> tuple[int, int]:
    """How many groups of units and of layers `--groups` leaves; those of the first layers are counted as well."""
    alone = sum(unit.layer is None for unit in structure.units.values())
    if groups == "layer":
        return len(structure.layers) + alone, len(structure.layers)
    stacks: dict[str, list[int]] = {}
    for layer in structure.layers:
        stacks.setdefault(layer.stack, []).append(len(layer.units))
    groups_of = {stack: -(-len(units) // int(groups)) for stack, units in stacks.items()}
    tied = sum(count * max(stacks[stack]) for stack, count in groups_of.items())
    return tied + alone, sum(groups_of.values())
