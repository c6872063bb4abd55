"""`rtn:B:gG`: plain min/max quantisation of groups of G weights to B bits, the one everyone compares with.

Each group of G neighbours in a row has a half-precision smallest value and step; codes are packed bit by
bit, with no entropy coding.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from compress.codecs.base import AT_ONCE, EachAlone, Shape, flat_shape
from compress.codecs.raw import read_tensors, to_bytes
from compress.codecs.registry import register
from compress.errors import UserError


class RoundToNearest(EachAlone):
    def __init__(self, bits: int, group: int) -> None:
        self.bits = bits
        self.group = group
        self.level = f"rtn:{bits}:g{group}"

    def misfit(self, shape: Shape) -> str | None:
        if reason := super().misfit(shape):
            return reason
        width = flat_shape(shape)[1]
        return f"rows of {width} weights do not split into groups of {self.group}" if width % self.group else None

    def encode_one(self, weight: Tensor) -> bytes:
        # Pieces of 8 groups, so that each but the last ends with a whole byte.
        size = 8 * self.group * max(1, AT_ONCE // (8 * self.group))
        pieces = [self._encode_groups(part) for part in weight.detach().reshape(-1).split(size)]
        return b"".join(piece[field] for field in range(3) for piece in pieces)

    def _encode_groups(self, flat: Tensor) -> tuple[bytes, bytes, bytes]:
        """Smallest values, steps and codes of whole groups."""
        groups = flat.to("cpu", torch.float32).reshape(-1, self.group)
        low = groups.amin(dim=1, keepdim=True).to(torch.float16)
        step = ((groups.amax(dim=1, keepdim=True) - low.float()) / (2**self.bits - 1)).to(torch.float16)
        if bool(torch.isinf(low).any() | torch.isinf(step).any()):
            raise UserError(f"{self.level} keeps scales in half precision, and a weight is beyond 65504")
        scaled = torch.where(step > 0, (groups - low.float()) / step.float(), torch.zeros_like(groups))
        codes = scaled.round_().clamp_(0, 2**self.bits - 1).to(torch.uint8).numpy()
        return to_bytes(low), to_bytes(step), pack_bits(codes.reshape(-1), self.bits)

    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        height, width = flat_shape(shape)
        count = height * width
        groups = count // self.group
        scales = ((groups, 1), torch.float16)
        packed = ((-(-count * self.bits // 8),), torch.uint8)
        low, step, data = read_tensors(payload, "rtn tensor", scales, scales, packed)
        codes = torch.from_numpy(unpack_bits(data.numpy(), count, self.bits)).reshape(-1, self.group)
        return (codes * step.float() + low.float()).reshape(shape)


def pack_bits(codes: np.ndarray, bits: int) -> bytes:
    """Codes below 2**bits, `bits` bits each, highest first."""
    planes = np.unpackbits(codes.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(planes.reshape(-1)).tobytes()


def unpack_bits(data: np.ndarray, count: int, bits: int) -> np.ndarray:
    flags = np.unpackbits(data, count=count * bits).reshape(count, bits)
    padded = np.zeros((count, 8), dtype=np.uint8)
    padded[:, 8 - bits :] = flags
    return np.packbits(padded, axis=1)[:, 0]


def _make(settings: str) -> RoundToNearest:
    match = re.fullmatch(r":([2-8]):g(\d{1,6})", settings)
    if match is None or int(match[2]) < 2:
        raise UserError(f"unknown level 'rtn{settings}'; write rtn:BITS:gGROUP with 2 to 8 bits, such as rtn:4:g64")
    return RoundToNearest(int(match[1]), int(match[2]))


register("rtn", _make)
