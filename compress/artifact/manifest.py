"""The manifest of an artifact: its policy, and the size and checksum of every section.

It counts, so it is JSON without spaces, compressed. Once the variants are built its length depends on the policy alone:
the ledger makes it to know its size, and the packer writes the same bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from compress.artifact.adapters import MOST_RANK
from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.codecs.raw import DTYPES, FORMATS
from compress.errors import UserError, parse_json
from compress.model.source import Source
from compress.model.structure import REST, Structure
from compress.policy.policy import Policy
from compress.policy.store import CHECKSUM_BYTES, checksum

FORMAT = "compress-1"
WITH_ADAPTERS = "compress-2"  # the same, with adapters after the units
MANIFEST, WEIGHTS, FILES = "manifest.json.zst", "weights.bin", "files.json.zst"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Section:
    """A range of bytes in an artifact."""

    nbytes: int
    checksum: bytes


@dataclass(frozen=True)
class AdapterSection(Section):
    """The section of one unit's adapter, and how to decode it."""

    unit: str
    level: str
    rank: int


def section_of(data: bytes) -> Section:
    """The size and checksum of some bytes."""
    return Section(len(data), checksum(data))


@dataclass(frozen=True)
class Manifest:
    """Sections in the order of weights.bin: unquantized groups, units, then adapters."""

    policy: Policy
    dtype: str  # of the original's weights: bf16, fp16 or fp32
    original_bytes: int
    unquantized: tuple[Section, ...]
    units: tuple[Section, ...]
    files: Section
    adapters: tuple[AdapterSection, ...] = ()

    @classmethod
    def of(
        cls, source: Source, policy: Policy, unquantized: Iterable[Section], units: Iterable[Section], files: Section
    ) -> Manifest:
        """The manifest of a source's artifact, adapters included."""
        units_in_order = policy.remaining_units(source.structure)
        adapters = [source.adapters[unit.name] for unit in units_in_order if unit.name in source.adapters]
        return cls(
            policy=policy,
            dtype=FORMATS[source.dtype],
            original_bytes=source.original_bytes,
            unquantized=tuple(unquantized),
            units=tuple(units),
            files=files,
            adapters=tuple(
                AdapterSection(len(a.payload), checksum(a.payload), a.unit, a.level, a.rank) for a in adapters
            ),
        )

    def to_bytes(self) -> bytes:
        sections = [*self.weight_sections, self.files]
        table: dict[str, object] = {
            "format": WITH_ADAPTERS if self.adapters else FORMAT,
            "policy": self.policy.to_dict(),
            "dtype": self.dtype,
            "original": self.original_bytes,
            "kept": [section.nbytes for section in self.unquantized],
            "units": [section.nbytes for section in self.units],
            "files": self.files.nbytes,
            "sums": base64.b64encode(b"".join(section.checksum for section in sections)).decode(),
        }
        if self.adapters:
            table["adapters"] = [[a.unit, a.level, a.rank, a.nbytes] for a in self.adapters]
        return zstd_encode(json.dumps(table, separators=(",", ":")).encode(), 19)

    @property
    def weight_sections(self) -> tuple[Section, ...]:
        """The sections of weights.bin, in order."""
        return (*self.unquantized, *self.units, *self.adapters)

    @property
    def weight_bytes(self) -> int:
        return sum(section.nbytes for section in self.weight_sections)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        text = zstd_decode(data, min(_MOST_BYTES, 4096 + 256 * len(data)))
        table = parse_json(text, "damaged artifact: its manifest is not JSON")
        if not isinstance(table, dict) or table.get("format") not in (FORMAT, WITH_ADAPTERS):
            raise UserError(f"this is not an artifact of format {FORMAT} or {WITH_ADAPTERS}")
        unquantized, units = _sizes(table.get("kept")), _sizes(table.get("units"))
        files, original_bytes = _sizes([table.get("files"), table.get("original")])
        adapters = _adapters(table.get("adapters")) if table["format"] == WITH_ADAPTERS else []
        sizes = [*unquantized, *units, *(entry[3] for entry in adapters), files]
        sections = map(Section, sizes, _checksums(table.get("sums"), len(sizes)))
        if table.get("dtype") not in tuple(DTYPES):
            raise UserError("damaged artifact: its manifest names no dtype")
        return cls(
            dtype=table["dtype"],
            policy=Policy.from_dict(table.get("policy")),
            original_bytes=original_bytes,
            unquantized=tuple(islice(sections, len(unquantized))),
            units=tuple(islice(sections, len(units))),
            adapters=tuple(
                AdapterSection(section.nbytes, section.checksum, unit, level, rank)
                for (unit, level, rank, _), section in zip(adapters, islice(sections, len(adapters)), strict=True)
            ),
            files=next(sections),
        )


def unquantized_order(structure: Structure, policy: Policy) -> list[str]:
    """The groups of unquantized tensors in the artifact of a policy, in order."""
    return [REST, *(layer.name for layer in structure.layers if layer.name not in policy.dropped)]


def _adapters(value: object) -> list[tuple[str, str, int, int]]:
    if not isinstance(value, list) or not value or not all(isinstance(e, list) and len(e) == 4 for e in value):
        raise UserError("damaged artifact: its manifest names no adapters")
    for unit, level, rank, _ in value:
        if not isinstance(unit, str) or not isinstance(level, str) or type(rank) is not int:
            raise UserError("damaged artifact: an adapter without unit, level and rank")
        if not 0 <= rank <= MOST_RANK:
            raise UserError(f"damaged artifact: an adapter of rank {rank}")
    sizes = _sizes([entry[3] for entry in value])
    return [(entry[0], entry[1], entry[2], size) for entry, size in zip(value, sizes, strict=True)]


def _sizes(value: object) -> list[int]:
    if not isinstance(value, Sequence) or not all(type(n) is int and 0 <= n < 1 << 50 for n in value):
        raise UserError("damaged artifact: its manifest gives sizes that are not valid")
    return list(value)


def _checksums(value: object, count: int) -> list[bytes]:
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != CHECKSUM_BYTES * count:
        raise UserError(f"damaged artifact: its manifest does not hold {count} checksums")
    return [data[i : i + CHECKSUM_BYTES] for i in range(0, len(data), CHECKSUM_BYTES)]
