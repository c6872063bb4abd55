"""Recipes: policies known by name from the literature.

As published, what a recipe does not quantize (embeddings, audio encoder, attention) stays in half precision.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from compress.codecs import codec
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.model.source import Source
from compress.model.structure import Structure, Unit
from compress.policy.policy import Policy

HALF = "raw:fp16"
# Layers removed by greedy iterative pruning on ACL 60/60 dev, English to German and to Chinese (Moslem 2025).
MOSLEM = {"de": (1, 3, 9, 13, 19, 20, 27, 29), "zh": (3, 4, 7, 15, 20, 25, 26, 29)}
MOSLEM_LAYERS = 32

LevelOf = Callable[[Unit], str]


def original_policy(source: Source, dropped: tuple[str, ...] = ()) -> Policy:
    """The model as it is: every unit as the checkpoint stores it. Levels of dropped layers are left in."""
    level = f"raw:{FORMATS[source.dtype]}"
    return Policy(model=source.digest, levels=dict.fromkeys(source.structure.units, level), dropped=dropped)


def recipe_names() -> tuple[str, ...]:
    """Every recipe; words in capitals stand for a value."""
    return (*_PLAIN, "drop:LIST", "moslem-de", "moslem-zh", "uniform:LEVEL", "diet")


def recipe(name: str, structure: Structure, model: str, calibration: str = "") -> Policy:
    """The policy of a recipe for one model (`model` is its digest, `calibration` that of its statistics)."""
    level_of, dropped = _parse(name, structure)
    levels = {u.name: level_of(u) for u in structure.units.values() if u.layer not in dropped}
    return Policy(model=model, levels=levels, dropped=dropped, calibration=calibration)


def _parse(name: str, structure: Structure) -> tuple[LevelOf, tuple[str, ...]]:
    if name in _PLAIN:
        return _PLAIN[name], ()
    if name == "diet":
        return _diet(structure), ()
    if name.startswith("uniform:"):
        chosen = codec(name.removeprefix("uniform:"))
        reasons = {u.name: chosen.unit_unsupported(u.shapes, u.roles) for u in structure.units.values()}
        if all(reasons.values()):
            first, reason = next(iter(reasons.items()))
            raise UserError(f"level {chosen.level} fits no unit of this model; {first}: {reason}")
        return lambda unit: HALF if reasons[unit.name] else chosen.level, ()
    if name.startswith("drop:"):
        return lambda _: HALF, _layers(name.removeprefix("drop:"), structure)
    if name in ("moslem-de", "moslem-zh"):
        dropped = tuple(f"lm.{i}" for i in MOSLEM[name[-2:]])
        layers = sum(layer.stack == "lm" for layer in structure.layers)
        if layers != MOSLEM_LAYERS:
            raise UserError(f"recipe {name} drops certain layers of a model of {MOSLEM_LAYERS}; this one has {layers}")
        return lambda unit: "nf4" if _is_inner_linear(unit) else HALF, dropped
    raise UserError(f"unknown recipe {name!r}; there are {', '.join(recipe_names())}")


def _diet(structure: Structure) -> LevelOf:
    """Diet-KIT 2026: 4 bits, 3 for the least sensitive MLPs (the middle half), 2 for the embedding, 6 for the head.

    Rates of our own grid codec in place of HQQ give the published 3.98 GB.
    """
    length = sum(layer.stack == "lm" for layer in structure.layers)
    middle = {
        layer.name for layer in structure.layers if layer.stack == "lm" and length / 4 <= layer.index < 3 * length / 4
    }

    def level_of(unit: Unit) -> str:
        insensitive = unit.kind == "mlp" and unit.layer in middle
        bits = 3 if insensitive else {"embedding": 2, "head": 6}.get(unit.kind, 4)
        grid = codec(f"grid@{bits}")
        return HALF if grid.unit_unsupported(unit.shapes, unit.roles) else grid.level

    return level_of


def _is_ffn_linear(unit: Unit) -> bool:
    """The selection of mlp-q2 and mlp-q3: linears whose name contains gate_proj, up_proj or down_proj."""
    return all(any(part in role for part in ("gate_proj", "up_proj", "down_proj")) for role in unit.roles)


def _is_inner_linear(unit: Unit) -> bool:
    """A linear other than the head."""
    return unit.kind in {"attention", "mlp", "projector"}


def _layers(text: str, structure: Structure) -> tuple[str, ...]:
    """Layer names of a list: `3,5,7-9` are LM layers, `audio.3` is a layer of another stack."""
    layers = []
    for item in filter(None, text.split(",")):
        match = re.fullmatch(r"(?:([a-z]\w*)\.)?(\d{1,4})(?:-(\d{1,4}))?", item.strip())
        if match is None:
            raise UserError(f"cannot read {item!r} as layers to drop; write drop:3,5,7-9 or drop:audio.3,lm.5")
        first, last = int(match[2]), int(match[3] or match[2])
        layers += [structure.layer(f"{match[1] or 'lm'}.{i}").name for i in range(first, last + 1)]
    if not layers:
        raise UserError("recipe drop: names no layer; write drop:3,5,7-9 or drop:audio.3,lm.5")
    return tuple(layers)


_PLAIN: dict[str, LevelOf] = {
    "fp16": lambda _: HALF,
    "int8": lambda unit: "int8" if _is_inner_linear(unit) else HALF,
    "mlp-q3": lambda unit: "digits:3" if _is_ffn_linear(unit) else HALF,
    "mlp-q2": lambda unit: "digits:2" if _is_ffn_linear(unit) else HALF,
    "global-q2": lambda unit: "digits:2" if _is_inner_linear(unit) or unit.kind == "head" else HALF,
    "mlp-prune-q2": lambda unit: "ffn:0.8+digits:2" if _is_ffn_linear(unit) else HALF,
}
