"""`search.run --plan`: what would be searched, from the model's config alone; no weights are loaded.

Bytes are nominal (a level's bits a weight times the weights): the run itself uses exact ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import compress
from compress.errors import UserError
from compress.model.aux_files import read_aux_files
from compress.model.meta_model import build_meta_model, config_from_dict
from compress.models import resolve_model, weight_bytes
from compress.policy.recipes import recipe_names
from compress.sizes import Bin, scale_for
from search.config import Config
from search.iterative_pruning import IterativePruning, lm_layers
from search.space import vocabularies
from search.space.bounds import out_of_reach
from search.space.space import DEFAULT_LEVELS

NOMINAL = {"raw": 16.0, "int8": 8.1, "nf4": 4.13, "digits:2": 5.0, "digits:3": 8.3}  # bits a weight
MARGIN = 0.1  # of nominal sizes
KL_SECONDS, SCORE_SECONDS = 0.15, 1.0  # of a utterance-batch: what one KL and one score cost relative to each other
SECONDS_AN_UTTERANCE = {"full": 0.12, "small": 0.03}  # an H100-class GPU, batch 32 (assumed); this model on one core


@dataclass(frozen=True)
class Outline:
    """What the plan is made of."""

    structure: compress.Structure
    levels: tuple[str, ...]
    frozen: frozenset[str]
    bins: tuple[Bin, ...]
    original_bytes: int
    tokens: tuple[int, ...] = ()  # how many each vocabulary keeps
    vocabulary: str = "full"  # a line on them


def nominal_bits(level: str) -> float:
    """Bits a weight as the level's name tells them."""
    if level in NOMINAL:
        return NOMINAL[level]
    if level.startswith("raw:"):
        return 32.0 if level.endswith("32") else 16.0
    if level.startswith("grid@") and (rate := compress.codecs.rate_of(level)):
        return rate
    if found := re.fullmatch(r"rtn:(\d+):g(\d+)", level):
        return int(found[1]) + 32 / int(found[2])
    return 16.0


def structure_of(folder: Path) -> tuple[compress.Structure, int]:
    """The structure of a model from its config, and the bytes of its weight files.

    Where there is only the config, the bytes are those of its parameters at its dtype.
    """
    path = folder / "config.json"
    if not path.exists():
        raise UserError(f"--plan needs the model's config.json: {path} is missing; give a folder that holds it")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        meta_model = build_meta_model(config_from_dict(raw))
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is no config of a model that can be compressed ({error})") from None
    structure = compress.read_structure(meta_model)
    try:
        return structure, weight_bytes(folder)
    except UserError:
        dtype = str(raw.get("torch_dtype") or raw.get("dtype") or "bfloat16")
        return structure, structure.parameters * (4 if dtype == "float32" else 2)


class Paper:
    """Of a source what is known without its weights: as much as trimming a vocabulary asks for."""

    def __init__(self, folder: Path, structure: compress.Structure) -> None:
        self.folder, self.structure, self.vocabularies = folder, structure, dict[str, Any]()
        self.aux_files = read_aux_files(folder)


def outline(config: Config) -> Outline:
    folder = resolve_model(config.model, download=False)
    structure, size = structure_of(folder)
    frozen = frozenset(unit for unit in structure.units if config.freeze and re.search(config.freeze, unit))
    if config.freeze and not frozen:
        raise UserError(f"--freeze {config.freeze}: no unit's name matches")
    paper = Paper(folder, structure)
    _, tokens, description = vocabularies.resolve(config, cast(compress.Source, paper), tuple(frozen))
    levels, bins = config.levels or DEFAULT_LEVELS, config.bins_in_bytes(size)
    return Outline(structure, levels, frozen, bins, size, tokens, description)


def weights_of(plan: Outline) -> tuple[int, int]:
    """Weights that may change, and parameters that stay as they are."""
    units = plan.structure.units.values()
    free = sum(unit.weights for unit in units if unit.name not in plan.frozen)
    return free, plan.structure.parameters - free


def reach(plan: Outline, drop: bool) -> tuple[int, int]:
    """Nominal bytes of the smallest and the largest policy."""
    bits = [nominal_bits(level) for level in plan.levels]
    free, fixed = weights_of(plan)
    largest = free * max(bits) / 8 + 2 * fixed
    smallest = free * min(bits) / 8 + 2 * fixed
    if plan.tokens and plan.structure.vocabulary:
        rows = [
            u for u in plan.structure.units.values() if u.kind in ("embedding", "head") and u.name not in plan.frozen
        ]
        share = 1 - min(plan.tokens) / plan.structure.vocabulary
        smallest -= share * sum(unit.weights for unit in rows) * min(bits) / 8
    if drop:
        for layer in plan.structure.layers:
            if layer.index > 0 and not plan.frozen & set(layer.units):
                weights = sum(plan.structure.unit(unit).weights for unit in layer.units)
                smallest -= weights * min(bits) / 8 + 2 * (layer.parameters - weights)
    return round(smallest), round(largest)


def check(plan: Outline, drop: bool) -> None:
    """Refuses a bin that nominal sizes miss by more than MARGIN; the run knows what is kept, and looks closer."""
    least, most = reach(plan, drop)
    for each in plan.bins:
        if least * (1 - MARGIN) >= each.high or most * (1 + MARGIN) < each.low:
            raise UserError(out_of_reach(each, f"about {least:,} to {most:,} bytes"))


def show(config: Config) -> int:
    """Prints the plan."""
    plan = outline(config)
    for line in describe(config, plan):
        print(line)
    check(plan, config.drop)
    return 0


def describe(config: Config, plan: Outline) -> list[str]:
    structure = plan.structure
    lines = [f"model     {config.model}: {structure.parameters:,} parameters, {plan.original_bytes:,} bytes"]
    kinds = Counter(unit.kind for unit in structure.units.values())
    stacks = Counter(layer.stack for layer in structure.layers)
    lines.append(
        f"layers    {len(structure.layers)} ({', '.join(f'{name} {count}' for name, count in stacks.items())})"
    )
    lines.append(f"units     {len(structure.units)} ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})")
    for stack in stacks:
        sizes = {structure.unit(u).weights for layer in structure.layers if layer.stack == stack for u in layer.units}
        lines.append(f"          {stack}: weights a unit {', '.join(f'{size:,}' for size in sorted(sizes))}")
    for unit in structure.units.values():
        if unit.layer is None:
            lines.append(f"          {unit.name}: {unit.weights:,} weights")
    if plan.frozen:
        lines.append(
            f"frozen    {len(plan.frozen)} units: {', '.join(sorted(plan.frozen)[:6])}{' …' * (len(plan.frozen) > 6)}"
        )
    bits = ", ".join(f"{level} ({nominal_bits(level):g})" for level in plan.levels)
    lines.append(f"levels    {len(plan.levels)}, nominal bits a weight: {bits}")
    droppable = sum(layer.index > 0 for layer in structure.layers) if config.drop else 0
    choices = (len(structure.units) - len(plan.frozen), droppable)
    lines.append(f"space     {choices[0]} units at {len(plan.levels)} levels, {choices[1]} layers that may be dropped")
    lines.append(f"vocabulary {plan.vocabulary}")
    least, most = reach(plan, config.drop)
    lines.append(f"reach     about {least:,} to {most:,} bytes")
    free, fixed = weights_of(plan)
    scale = scale_for(plan.original_bytes)
    note = "" if scale == 1 or config.max_bytes else f" (scaled by {scale:.6f}: the model is not full-size)"
    for each in plan.bins:
        low, high = (max(8 * (size - 2 * fixed) / free, 0.0) for size in (each.low, each.high))
        lines.append(
            f"{each.name:9} {each.low:,} to {each.high:,} bytes{note}: {low:.2f} to {high:.2f} bits a weight"
            " with every layer kept"
        )
    return lines + _times(config, plan, choices)


def _times(config: Config, plan: Outline, choices: tuple[int, int]) -> list[str]:
    per_unit = len(plan.levels) if config.sensitivities == "full" else 2
    sensed = choices[0] * per_unit + choices[1] + max(len(plan.tokens) - 1, 0)
    recipes = (len(recipe_names()) + len(plan.levels)) if config.baselines else 0
    layers = lm_layers(plan.structure) if any(layer.stack == "lm" for layer in plan.structure.layers) else ()
    rounds = len(layers) // 4 if config.baselines and config.drop else 0
    pruning = IterativePruning(layers, rounds=rounds).evaluations if rounds and len(layers) - 2 >= rounds else 0
    singles = choices[1] if config.score_drops else 0
    full = round(config.trials * 0.3) if "kl" in config.rungs else config.trials
    segments = config.segments or 468
    pace = SECONDS_AN_UTTERANCE["full" if plan.original_bytes > 1e9 else "small"]
    score = segments * pace
    near = config.sense_segments * pace * KL_SECONDS
    total = sensed * near + (recipes + singles + pruning + full) * score + config.trials * near
    workers = max(config.workers, 1)
    return [
        f"to do     {len(plan.structure.units) * len(plan.levels)} encodings, {sensed} sensitivities (known ones are"
        f" not measured again), {recipes} recipes at most, {singles} single drops, {pruning} evaluations of"
        f" iterative pruning, {config.trials} candidates of which about {full} are scored in full",
        f"time      about {total / 3600 / workers:.1f} h on {workers} workers without encoding, at {pace:g} s an"
        f" utterance (an assumption: `benchmarks.evaluate` measures yours) and {segments} segments",
    ]
