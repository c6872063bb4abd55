"""The manifest of an artifact: its policy, and the size and checksum of everything in it.

Written without a space and compressed, because it counts. Its length depends on the policy alone once the
variants are known, so the ledger writes it to know its size, and the packer writes the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from compress.anatomy import REST, Anatomy, Unit
from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.codecs.raw import DTYPES
from compress.errors import Refusal
from compress.policy import Policy
from compress.store import SUM_BYTES

FORMAT = "compress-1"
MANIFEST, WEIGHTS, FILES = "manifest.json.zst", "weights.bin", "files.json.zst"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Part:
    """A stretch of an artifact: so many bytes with such a checksum."""

    nbytes: int
    sum: bytes


@dataclass(frozen=True)
class Manifest:
    """`kept` and `units` are in the order of `kept_order` and `unit_order`; so they lie in weights.bin."""

    policy: Policy
    dtype: str  # what the weights were stored in: bf16, fp16 or fp32
    original_bytes: int
    kept: tuple[Part, ...]
    units: tuple[Part, ...]
    files: Part

    def to_bytes(self) -> bytes:
        parts = [*self.kept, *self.units, self.files]
        table = {
            "format": FORMAT,
            "policy": self.policy.to_dict(),
            "dtype": self.dtype,
            "original": self.original_bytes,
            "kept": [part.nbytes for part in self.kept],
            "units": [part.nbytes for part in self.units],
            "files": self.files.nbytes,
            "sums": base64.b64encode(b"".join(part.sum for part in parts)).decode(),
        }
        return zstd_encode(json.dumps(table, separators=(",", ":")).encode(), 19)

    @property
    def weight_bytes(self) -> int:
        return sum(part.nbytes for part in (*self.kept, *self.units))

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        try:
            table = json.loads(zstd_decode(data, min(_MOST_BYTES, 4096 + 256 * len(data))))
        except (ValueError, RecursionError):
            raise Refusal("damaged artifact: its manifest is not JSON") from None
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise Refusal(f"this is not an artifact of format {FORMAT}")
        kept, units = _sizes(table.get("kept")), _sizes(table.get("units"))
        files = _sizes([table.get("files"), table.get("original")])
        sums = _sums(table.get("sums"), len(kept) + len(units) + 1)
        parts = [Part(n, s) for n, s in zip([*kept, *units, files[0]], sums, strict=True)]
        if table.get("dtype") not in tuple(DTYPES):
            raise Refusal("damaged artifact: its manifest names no dtype")
        return cls(
            dtype=table["dtype"],
            policy=Policy.from_dict(table.get("policy")),
            original_bytes=files[1],
            kept=tuple(parts[: len(kept)]),
            units=tuple(parts[len(kept) : -1]),
            files=parts[-1],
        )


def kept_order(anatomy: Anatomy, policy: Policy) -> list[str]:
    """The groups of kept tensors that an artifact holds."""
    return [REST, *(layer.name for layer in anatomy.layers if layer.name not in policy.dropped)]


def unit_order(anatomy: Anatomy, policy: Policy) -> list[Unit]:
    return policy.kept_units(anatomy)


def _sizes(value: object) -> list[int]:
    if not isinstance(value, Sequence) or not all(type(n) is int and 0 <= n < 1 << 50 for n in value):
        raise Refusal("damaged artifact: its manifest gives sizes that are none")
    return list(value)


def _sums(value: object, count: int) -> list[bytes]:
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != SUM_BYTES * count:
        raise Refusal(f"damaged artifact: its manifest does not hold {count} checksums")
    return [data[i : i + SUM_BYTES] for i in range(0, len(data), SUM_BYTES)]
