"""Which sizes policies can have: bounds from shapes alone, and the one check that a bin is within reach.

Each level has a least and a most of bits a weight, so a bin that is certainly out of reach is refused before anything
is encoded. The exact check (constraint.py) follows when every variant's bytes are known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import compress
from compress.codecs import codec
from compress.codecs.levels import bits_of
from compress.errors import UserError
from compress.model.aux_files import pack_files
from compress.model.structure import REST, Unit
from compress.model.vocabulary import vocabulary_files
from compress.sizes import Bin

Range = tuple[float, float]  # least and most bytes
TENSOR_BYTES, UNIT_BYTES, MANIFEST_BYTES = 64, 400, 8192  # at most: a payload's header, a unit's entry, the rest
FILES_RATIO = 20  # text does not compress better than that
FILES_EXACT = 1 << 20  # bytes of files up to which they are compressed to know their exact size


@dataclass(frozen=True)
class NonUnitBytes:
    """What an artifact consists of besides units."""

    unquantized: Mapping[str, Range]  # by layer, '' for tensors outside of all layers
    files: Range


def parts_of(source: compress.Source, vocabularies: Sequence[str]) -> NonUnitBytes:
    """Exact for the unquantized tensors; for the auxiliary files too, unless compressing them would take seconds."""
    sizes = {group: float(len(source.unquantized_blob(group))) for group in source.structure.groups}
    return NonUnitBytes({group: (size, size) for group, size in sizes.items()}, _file_bytes(source, vocabularies))


def parts_without_weights(
    source: compress.Source, vocabularies: Sequence[str], bytes_per_parameter: int
) -> NonUnitBytes:
    """The same from `structure`, `aux_files` and `vocabularies` of a source alone; no tensor is read."""
    structure = source.structure
    counts = {
        layer.name: layer.parameters - sum(structure.unit(unit).weights for unit in layer.units)
        for layer in structure.layers
    }
    counts[REST] = structure.parameters - sum(u.weights for u in structure.units.values()) - sum(counts.values())
    unquantized = {
        group: (0.0, float(counts[group] * bytes_per_parameter + TENSOR_BYTES * (1 + len(tensors))))
        for group, tensors in structure.groups.items()
    }
    return NonUnitBytes(unquantized, _file_bytes(source, vocabularies))


def _file_bytes(source: compress.Source, vocabularies: Sequence[str]) -> Range:
    ranges = [_packed(vocabulary_files(source, name)) for name in vocabularies]
    return min(least for least, _ in ranges), max(most for _, most in ranges)


def _packed(files: Mapping[str, bytes]) -> Range:
    total = float(sum(map(len, files.values())))
    if total > FILES_EXACT:
        return total / FILES_RATIO, total
    exact = float(len(pack_files(files)))
    return exact, exact


def bounds(
    structure: compress.Structure,
    parts: NonUnitBytes,
    levels: Sequence[str],
    frozen: Mapping[str, str],
    drop: bool,
    tokens: Sequence[int],
) -> tuple[int, int]:
    """No policy has fewer bytes than the first number nor more than the second. `frozen` is unit → its only level;
    `tokens` is how many each vocabulary keeps."""
    least, most = parts.files[0], parts.files[1] + MANIFEST_BYTES
    droppable = {
        layer.name for layer in structure.layers if drop and layer.index > 0 and not set(frozen) & set(layer.units)
    }
    for group, (low, high) in parts.unquantized.items():
        least += 0 if group in droppable else low
        most += high
    for unit in structure.units.values():
        low, high = _unit_bytes(unit, [frozen[unit.name]] if unit.name in frozen else levels)
        share = 1.0
        if unit.kind in ("embedding", "head") and structure.vocabulary:
            share = min(tokens) / structure.vocabulary
        least += 0 if unit.layer in droppable else low * share
        most += high
    return int(least), round(most)


def _unit_bytes(unit: Unit, levels: Sequence[str]) -> Range:
    supported = [level for level in levels if codec(level).unit_unsupported(unit.shapes, unit.roles) is None]
    if not supported:
        raise UserError(f"none of the levels {', '.join(levels)} fits unit {unit.name}")
    weights = sum(prod(shape) for shape in unit.shapes)
    least = min(bits_of(level).least for level in supported)
    most = max(bits_of(level).most for level in supported)
    return weights * least / 8, weights * most / 8 + UNIT_BYTES + TENSOR_BYTES * len(unit.shapes)


def check_reachable(bins: Collection[Bin], least: int, most: int, exact: bool = False) -> None:
    """Refuses a bin that no policy of `least` to `most` bytes is in."""
    for size_bin in bins:
        if least >= size_bin.high or most < size_bin.low:
            raise UserError(out_of_reach(size_bin, f"{'' if exact else 'about '}{least:,} to {most:,} bytes"))


def in_reach(bins: Sequence[Bin], least: int, most: int) -> tuple[tuple[Bin, ...], tuple[str, ...]]:
    """The bins that a policy of `least` to `most` bytes can be in, and a line on each of the others. Refuses none."""
    inside = tuple(each for each in bins if least < each.high and most >= each.low)
    if not inside:
        raise UserError(
            f"no bin can be reached: policies of this model and these levels have about {least:,} to {most:,} bytes;"
            " choose other --levels, or --max-bytes"
        )
    policies = f"policies have about {least:,} to {most:,} bytes"
    return inside, tuple(
        f"{each.name} ({each.low:,} to {each.high:,} bytes) is out of reach and left out: {policies}"
        for each in bins
        if each not in inside
    )


def check_limit(max_bytes: int | None, original_bytes: int, most: int) -> None:
    """Refuses a --max-bytes that limits nothing, as one with a digit or a unit too many."""
    if max_bytes is not None and max_bytes > max(original_bytes, most) + 1:
        raise UserError(
            f"--max-bytes {max_bytes:,}: the model itself has {original_bytes:,} bytes, and no policy more than about"
            f" {most:,}; give less"
        )


def out_of_reach(size_bin: Bin, reachable: str) -> str:
    """The message for a bin that is refused; `reachable` says which sizes policies have."""
    return (
        f"{size_bin.name} ({size_bin.low:,} to {size_bin.high:,} bytes) cannot be reached: policies of this model and"
        f" these levels have {reachable}; choose another bin or other --levels"
    )
