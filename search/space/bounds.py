"""Bounds of what policies weigh, from shapes alone: a bin that is out of reach for certain is refused at once.

The exact check (constraint.py) needs every variant's bytes, so it comes after encoding and has the last word. Here each
level has a least and a most of bits a weight; bytes of levels whose size depends on the weights are given a margin.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import compress
from compress.codecs import codec
from compress.errors import UserError
from compress.model.aux_files import pack_files
from compress.model.structure import Unit
from compress.model.vocabulary import vocabulary_files
from compress.sizes import Bin
from search.space.constraint import out_of_reach

GRID_SLACK = 0.95  # `grid@R` takes at most R, and stops looking at .988 R
DIGITS_LEAST = 0.5  # bits: digits are absolute, so weights that are nearly all zero cost next to nothing
TENSOR_BYTES, UNIT_BYTES, FOLDER_BYTES = 64, 400, 8192  # at most: heads of payloads, a unit's lines in the manifest
FILES_RATIO = 20  # text is not compressed further than that,
FILES_EXACT = 1 << 20  # and looked at exactly where it is no larger


def bits(level: str) -> tuple[float, float]:
    """At least and at most so many bits a weight."""
    name, _, settings = level.partition(":")
    if name == "raw":
        exact = 32.0 if settings == "fp32" else 16.0
        return exact, exact
    if name.startswith("grid@"):
        rate = float(name.removeprefix("grid@"))
        return GRID_SLACK * rate, rate
    if name == "int8":
        return 8.0, 16.0  # four bytes a row more
    if name == "nf4":
        return 4.0, 4.2
    if name == "digits":
        return DIGITS_LEAST, 16.5
    if found := re.fullmatch(r"(\d+):g(\d+)", settings):
        exact = int(found[1]) + 32 / int(found[2])
        return exact, exact
    if name == "ffn":
        share, _, inner = settings.partition("+")
        least, most = bits(inner)
        return float(share) * least, most
    return 0.0, 33.0


@dataclass(frozen=True)
class Parts:
    """What a model consists of besides units: at least and at most so many bytes of each."""

    unquantized: Mapping[str, tuple[float, float]]  # layer, '' for those outside of all layers
    files: tuple[float, float]


def parts_of(source: compress.Source, vocabularies: Sequence[str]) -> Parts:
    """Exactly what is kept; the fixed files too, unless packing them would take seconds."""
    unquantized = {group: float(len(source.unquantized_blob(group))) for group in source.structure.groups}
    texts = [vocabulary_files(source, name) for name in vocabularies]
    sizes = [(packed / (1 if exact else FILES_RATIO), packed) for packed, exact in map(_packed, texts)]
    files = (min(low for low, _ in sizes), max(high for _, high in sizes))
    return Parts({group: (size, size) for group, size in unquantized.items()}, files)


def _packed(files: Mapping[str, bytes]) -> tuple[float, bool]:
    text = sum(map(len, files.values()))
    return (float(len(pack_files(files))), True) if text <= FILES_EXACT else (float(text), False)


def bounds(
    structure: compress.Structure,
    parts: Parts,
    levels: Sequence[str],
    frozen: Mapping[str, str],
    drop: bool,
    tokens: Sequence[int],
) -> tuple[int, int]:
    """No policy has fewer bytes than the first figure nor more than the second. `frozen` units have their level;
    `tokens` is how many each vocabulary keeps."""
    least, most = parts.files[0], parts.files[1] + FOLDER_BYTES
    droppable = {
        layer.name for layer in structure.layers if drop and layer.index > 0 and not set(frozen) & set(layer.units)
    }
    for group, (low, high) in parts.unquantized.items():
        least += 0 if group in droppable else low
        most += high
    for unit in structure.units.values():
        low, high = _unit(unit, [frozen[unit.name]] if unit.name in frozen else levels)
        share = 1.0
        if unit.kind in ("embedding", "head") and structure.vocabulary:
            share = min(tokens) / structure.vocabulary
        least += 0 if unit.layer in droppable else low * share
        most += high
    return int(least), round(most)


def _unit(unit: Unit, levels: Sequence[str]) -> tuple[float, float]:
    fitting = [level for level in levels if codec(level).unit_unsupported(unit.shapes, unit.roles) is None]
    if not fitting:
        raise UserError(f"none of the levels {', '.join(levels)} fits unit {unit.name}")
    weights = sum(prod(shape) for shape in unit.shapes)
    least = min(bits(level)[0] for level in fitting)
    most = max(bits(level)[1] for level in fitting)
    return weights * least / 8, weights * most / 8 + UNIT_BYTES + TENSOR_BYTES * len(unit.shapes)


def check(bins: Collection[Bin], least: int, most: int) -> None:
    """Refuses a bin that is out of reach for certain."""
    for each in bins:
        if least >= each.high or most < each.low:
            raise UserError(out_of_reach(each, f"about {least:,} to {most:,} bytes"))
