"""The manifest of an artifact: its policy, and the size and checksum of everything in it.

Written without a space and compressed, because it counts. Its length depends on the policy alone once the
variants are known, so the ledger writes it to know its size, and the packer writes the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compress.artifact.adapters import MOST_RANK, Adapter
from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.codecs.raw import DTYPES
from compress.errors import UserError
from compress.model.structure import REST, Structure, Unit
from compress.policy.policy import Policy
from compress.policy.store import CHECKSUM_BYTES, checksum

FORMAT = "compress-1"
WITH_ADAPTERS = "compress-2"  # the same, with adapters behind the units
MANIFEST, WEIGHTS, FILES = "manifest.json.zst", "weights.bin", "files.json.zst"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Section:
    """A stretch of an artifact: so many bytes with such a checksum."""

    nbytes: int
    sum: bytes


@dataclass(frozen=True)
class AdapterSection:
    """Where the adapter of a unit lies, and how to read it."""

    unit: str
    level: str
    rank: int
    part: Section


@dataclass(frozen=True)
class Manifest:
    """Sections in the order of weights.bin: unquantized groups, units, then adapters."""

    policy: Policy
    dtype: str  # what the weights were stored in: bf16, fp16 or fp32
    original_bytes: int
    unquantized: tuple[Section, ...]
    units: tuple[Section, ...]
    files: Section
    adapters: tuple[AdapterSection, ...] = ()

    def to_bytes(self) -> bytes:
        parts = [*self.weight_parts, self.files]
        table: dict[str, object] = {
            "format": WITH_ADAPTERS if self.adapters else FORMAT,
            "policy": self.policy.to_dict(),
            "dtype": self.dtype,
            "original": self.original_bytes,
            "kept": [part.nbytes for part in self.unquantized],
            "units": [part.nbytes for part in self.units],
            "files": self.files.nbytes,
            "sums": base64.b64encode(b"".join(part.sum for part in parts)).decode(),
        }
        if self.adapters:
            table["adapters"] = [[a.unit, a.level, a.rank, a.part.nbytes] for a in self.adapters]
        return zstd_encode(json.dumps(table, separators=(",", ":")).encode(), 19)

    @property
    def weight_parts(self) -> tuple[Section, ...]:
        """What lies in weights.bin, in order."""
        return (*self.unquantized, *self.units, *(adapter.part for adapter in self.adapters))

    @property
    def weight_bytes(self) -> int:
        return sum(part.nbytes for part in self.weight_parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        try:
            table = json.loads(zstd_decode(data, min(_MOST_BYTES, 4096 + 256 * len(data))))
        except (ValueError, RecursionError):
            raise UserError("damaged artifact: its manifest is not JSON") from None
        if not isinstance(table, dict) or table.get("format") not in (FORMAT, WITH_ADAPTERS):
            raise UserError(f"this is not an artifact of format {FORMAT} or {WITH_ADAPTERS}")
        kept, units = _sizes(table.get("kept")), _sizes(table.get("units"))
        files = _sizes([table.get("files"), table.get("original")])
        told = _adapters(table.get("adapters")) if table["format"] == WITH_ADAPTERS else []
        sums = _sums(table.get("sums"), len(kept) + len(units) + len(told) + 1)
        sizes = [*kept, *units, *(entry[3] for entry in told), files[0]]
        parts = [Section(n, s) for n, s in zip(sizes, sums, strict=True)]
        behind = len(kept) + len(units)
        if table.get("dtype") not in tuple(DTYPES):
            raise UserError("damaged artifact: its manifest names no dtype")
        return cls(
            dtype=table["dtype"],
            policy=Policy.from_dict(table.get("policy")),
            original_bytes=files[1],
            unquantized=tuple(parts[: len(kept)]),
            units=tuple(parts[len(kept) : behind]),
            files=parts[-1],
            adapters=tuple(
                AdapterSection(*entry[:3], part) for entry, part in zip(told, parts[behind:-1], strict=True)
            ),
        )


def unquantized_order(structure: Structure, policy: Policy) -> list[str]:
    """The groups of kept tensors that an artifact holds."""
    return [REST, *(layer.name for layer in structure.layers if layer.name not in policy.dropped)]


def unit_order(structure: Structure, policy: Policy) -> list[Unit]:
    return policy.remaining_units(structure)


def adapter_parts(adapters: Mapping[str, Adapter], order: Sequence[Unit]) -> tuple[AdapterSection, ...]:
    """The adapters that an artifact of these units holds."""
    found = [adapters[unit.name] for unit in order if unit.name in adapters]
    return tuple(AdapterSection(a.unit, a.level, a.rank, Section(len(a.payload), checksum(a.payload))) for a in found)


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
        raise UserError("damaged artifact: its manifest gives sizes that are none")
    return list(value)


def _sums(value: object, count: int) -> list[bytes]:
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != CHECKSUM_BYTES * count:
        raise UserError(f"damaged artifact: its manifest does not hold {count} checksums")
    return [data[i : i + CHECKSUM_BYTES] for i in range(0, len(data), CHECKSUM_BYTES)]
