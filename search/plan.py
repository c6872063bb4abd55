"""`search.run --plan`: what would be searched, from the model's config alone; no weights are loaded.

Sizes are bounds; the run itself uses exact ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

import compress
from compress.codecs.levels import describe_bits
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.model.aux_files import read_aux_files
from compress.model.meta_model import build_meta_model, config_from_dict
from compress.models import resolve_model
from compress.sizes import Bin, scale_for
from evaluate.peak_memory import peaks, shapes
from search.config import Config
from search.encoding_cost import encoding_seconds, free_bytes, store_bytes, this_machine
from search.given import bounded, check_names, open_checked
from search.progress import clock
from search.space import bounds, vocabularies
from search.space.space import DEFAULT_LEVELS
from search.workload import KL_SHARE, Workload

FROZEN = "raw:bf16"  # the level of units that stay as they are
ASSUMED_GPU = 80e9  # bytes of a GPU, where there is none
ACL_DEV = 468  # segments
SECONDS_AN_UTTERANCE = {"full": 0.12, "small": 0.03}  # an H100-class GPU, batch 32 (assumed); this model on one core


@dataclass(frozen=True)
class Outline:
    """What the plan is made of."""

    structure: compress.Structure
    levels: tuple[str, ...]
    frozen: frozenset[str]
    bins: tuple[Bin, ...]
    left_out: tuple[str, ...]  # a line on each bin that --bin all leaves out
    original_bytes: int
    dtype: str  # of the checkpoint, as levels name it
    reach: tuple[int, int]  # no policy has fewer bytes than the first number nor more than the second
    tokens: tuple[int, ...]  # how many each vocabulary keeps
    vocabulary: str  # a line on them
    segments: int | None  # of the data; None where none was given
    model_config: Any  # of transformers
    workload: Workload


class SourceWithoutWeights:
    """What a plan needs of a source, from the config and the files beside it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "config.json"
        if not path.exists():
            raise UserError(f"--plan needs the model's config.json: {path} is missing; give a folder that holds it")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            self.config = config_from_dict(config)
            self.structure = compress.read_structure(build_meta_model(self.config))
        except (ValueError, KeyError) as error:
            raise UserError(f"{path} is no config of a model that can be compressed ({error})") from None
        name = str(config.get("torch_dtype") or config.get("dtype") or "bfloat16")
        self.dtype = {"float32": torch.float32, "float16": torch.float16}.get(name, torch.bfloat16)
        self.bytes_per_parameter = self.dtype.itemsize
        self.original_bytes = self.structure.parameters * self.bytes_per_parameter
        self.folder, self.aux_files, self.vocabularies = folder, read_aux_files(folder), dict[str, Any]()


def outline(config: Config) -> Outline:
    """Where the weight files are there, only their heads and unquantized tensors are read.

    Refuses what the run would refuse, as far as it is given: the data need not be.
    """
    check_names(config)
    segments = len(open_checked(config).segments) if config.data else config.segments
    folder = resolve_model(config.model, download=False)
    weights = any(folder.glob("*.safetensors"))
    source = compress.Source.open(folder) if weights else cast(compress.Source, SourceWithoutWeights(folder))
    structure = source.structure
    frozen = frozenset(unit for unit in structure.units if config.freeze and re.search(config.freeze, unit))
    if config.freeze and not frozen:
        raise UserError(f"--freeze {config.freeze}: no unit's name matches")
    names, tokens, description = vocabularies.resolve(config, source, tuple(frozen))
    if isinstance(source, SourceWithoutWeights):
        parts = bounds.parts_without_weights(source, names, source.bytes_per_parameter)
    else:
        parts = bounds.parts_of(source, names)
    levels = config.levels or DEFAULT_LEVELS
    reach = bounds.bounds(structure, parts, levels, dict.fromkeys(frozen, FROZEN), config.drop, tokens)
    config, left_out = bounded(config, source.original_bytes, reach)
    return Outline(
        structure=structure,
        levels=levels,
        frozen=frozen,
        bins=config.bins_in_bytes(source.original_bytes),
        left_out=left_out,
        original_bytes=source.original_bytes,
        dtype=FORMATS[source.dtype],
        reach=reach,
        tokens=tokens,
        vocabulary=description,
        segments=segments,
        model_config=source.config,
        workload=Workload.of(replace(config, vocabulary=names), structure, frozen),
    )


def weights_of(plan: Outline) -> tuple[int, int]:
    """Weights that may change, and parameters that stay as they are."""
    units = plan.structure.units.values()
    free = sum(unit.weights for unit in units if unit.name not in plan.frozen)
    return free, plan.structure.parameters - free


def show(config: Config) -> int:
    """Prints the plan."""
    for line in describe(config, outline(config)):
        print(line)
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
    bits = ", ".join(f"{level} ({describe_bits(level)})" for level in plan.levels)
    lines.append(f"levels    {len(plan.levels)}, nominal bits a weight: {bits}")
    todo = plan.workload
    lines.append(f"space     {todo.units} units at {len(plan.levels)} levels, {todo.layers} layers that may be dropped")
    lines.append(f"vocabulary {plan.vocabulary}")
    least, most = plan.reach
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
    lines += plan.left_out
    return lines + _times(config, plan) + [_memory(config, plan)]


def _memory(config: Config, plan: Outline) -> str:
    """What a GPU needs at the peak of each phase, and whether it has it."""
    there = torch.cuda.is_available()
    gpu = float(torch.cuda.get_device_properties(0).total_memory) if there else ASSUMED_GPU
    itemsize = 2 if plan.dtype in ("bf16", "fp16") else 4
    shape = shapes(plan.model_config, plan.structure, itemsize)
    needed = peaks(shape, config.batch_size, config.max_new_tokens, gpu)
    figures = ", ".join(f"{phase} {size / 1e9:.1f}" for phase, size in needed.items())
    over = [phase for phase, size in needed.items() if size > gpu]
    fits = f"; {', '.join(over)} will take smaller batches" if over else ""
    if shape.weights >= gpu:
        fits = "; the model does not fit"
    whose = "this machine's" if there else "a"
    return f"GPU       GB at the peak of {whose} GPU of {gpu / 1e9:.0f} GB: {figures}{fits}"


def _times(config: Config, plan: Outline) -> list[str]:
    todo = plan.workload
    segments = plan.segments or ACL_DEV
    whose = "" if plan.segments else " (those of ACL 60/60 dev, since no --data was given)"
    pace = SECONDS_AN_UTTERANCE["full" if plan.original_bytes > 1e9 else "small"]
    score = segments * pace
    near = config.sense_segments * pace * KL_SHARE
    total = (todo.sensitivities + todo.trials) * near + (todo.recipes + todo.drops + todo.pruning + todo.full) * score
    workers = max(config.workers, 1)
    device, speed, at_once = this_machine(config)
    encoding = encoding_seconds(plan.structure, plan.levels, speed, plan.frozen) / at_once
    store = store_bytes(plan.structure, plan.levels, plan.dtype, config.calibration)
    free = "" if "://" in config.variants else f", where {free_bytes(config.variants) / 1e9:.1f} GB are free"
    where = "GPUs" if device == "cuda" else "CPUs"
    return [
        f"to do     {todo.encodings} encodings, {todo.sensitivities} sensitivities (known ones are"
        f" not measured again), {todo.recipes} recipes at most, {todo.drops} single drops, {todo.pruning} evaluations"
        f" of iterative pruning, {todo.trials} candidates of which about {todo.full} are scored in full",
        f"encoding  about {clock(encoding)} on {at_once} {where} at this machine's speed"
        f" ({speed.trellis / 1e6:.1f} million weights a second with a trellis, measured); once for all runs",
        f"store     about {store / 1e9:.1f} GB in {config.variants}{free}",
        f"time      about {clock(total / workers)} on {workers} workers after encoding, at {pace:g} s an"
        f" utterance (an assumption: `benchmarks.evaluate` measures yours) and {segments} segments{whose}",
    ]
