"""The public door to codecs alone: one tensor to bytes and back.

encoded = encode(weight, "grid@2.5", hessian)
encoded.nbytes                      # everything that is needed to decode it
decode(Encoded.from_bytes(encoded.to_bytes()))
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from compress.codecs.base import AT_ONCE, Shape
from compress.codecs.lossless import check_ratio, most_weights
from compress.codecs.registry import codec
from compress.codecs.statistics import Statistics
from compress.errors import UserError

_MAGIC = b"CET1"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_MOST_DIMENSIONS = 5


@dataclass(frozen=True)
class Encoded:
    """A tensor as bytes, with all that is needed to decode it."""

    level: str
    shape: Shape
    dtype: torch.dtype
    payload: bytes

    @property
    def nbytes(self) -> int:
        return len(self._head()) + len(self.payload)

    def _head(self) -> bytes:
        level = self.level.encode()
        dims = struct.pack(f"<{len(self.shape)}I", *self.shape)
        return _MAGIC + bytes((_DTYPES.index(self.dtype), len(self.shape), len(level))) + level + dims

    def to_bytes(self) -> bytes:
        return self._head() + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Encoded:
        data = bytes(data)
        if len(data) < 7 or data[:4] != _MAGIC:
            raise UserError("these bytes are not an encoded tensor")
        dtype, dims, length = data[4], data[5], data[6]
        end = 7 + length + 4 * dims
        if dtype >= len(_DTYPES) or not 0 < dims <= _MOST_DIMENSIONS or len(data) < end:
            raise UserError("damaged encoded tensor: its header makes no sense")
        try:
            level = data[7 : 7 + length].decode("ascii")
        except UnicodeDecodeError:
            raise UserError("damaged encoded tensor: its level is not text") from None
        shape = struct.unpack_from(f"<{dims}I", data, 7 + length)
        check_ratio(prod(shape), len(data))
        codec(level).refuse_unsupported([shape], ["weight"], f"a tensor of shape {shape}")
        return cls(level, shape, _DTYPES[dtype], data[end:])


def encode(weight: Tensor, level: str, hessian: Tensor | None = None) -> Encoded:
    """Write one tensor at one level. `hessian` is XᵀX of the inputs of the layer (inputs × inputs)."""
    chosen = codec(level)
    shape = tuple(weight.shape)
    chosen.refuse_unsupported([shape], ["weight"], f"a tensor of shape {shape}")
    refuse_values(weight)
    known = None
    if hessian is not None:
        width = prod(shape[1:])
        if tuple(hessian.shape) != (width, width):
            raise UserError(f"the Hessian has shape {tuple(hessian.shape)}; this tensor needs ({width}, {width})")
        if not bool(torch.isfinite(hessian).all()):
            raise UserError("the Hessian holds NaN or Inf; gather the calibration statistics again")
        known = Statistics(hessian)
    empty = Encoded(chosen.level, shape, weight.dtype, b"")
    payload = chosen.within(empty.nbytes).encode([weight], [known], ["weight"])
    refuse_empty(weight.numel(), len(payload))
    return replace(empty, payload=payload)


def decode(encoded: Encoded) -> Tensor:
    return codec(encoded.level).decode(encoded.payload, [encoded.shape], encoded.dtype)[0]


def refuse_values(weight: Tensor, name: str = "the tensor") -> None:
    """Refuse what no codec can write: integers, NaN, Inf."""
    if weight.dtype not in _DTYPES:
        raise UserError(f"{name} has dtype {weight.dtype}; levels are for float32, float16 and bfloat16")
    if not all(bool(torch.isfinite(part).all()) for part in weight.reshape(-1).split(AT_ONCE)):
        raise UserError(f"{name} holds NaN or Inf; a damaged checkpoint cannot be compressed")


def refuse_empty(count: int, nbytes: int, name: str = "the tensor") -> None:
    """A huge tensor of one value would look like a decompression bomb when it is read again."""
    if count > most_weights(nbytes):
        raise UserError(f"{name} says nearly nothing ({count} weights in {nbytes} bytes); use a raw level for it")
