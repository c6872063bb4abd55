"""`digits:D`: the seed's codec, exactly as published.

numcodecs' Quantize(digits=D, f4 -> f2), one absolute step for every tensor (2^-7 for D=2, 2^-10 for D=3),
then Zstd(3). Payload bytes and values are those of numcodecs called directly.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from numcodecs.quantize import Quantize
from torch import Tensor

from compress.codecs.base import AT_ONCE, EachAlone, Shape
from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.codecs.registry import register
from compress.errors import UserError

ZSTD_LEVEL = 3


class Digits(EachAlone):
    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.level = f"digits:{digits}"
        self._quantize = Quantize(digits=digits, dtype="f4", astype="f2")

    def encode_one(self, weight: Tensor) -> bytes:
        flat = weight.detach().cpu().contiguous().reshape(-1)
        halves = np.empty(flat.numel(), dtype="<f2")
        for begin in range(0, flat.numel(), AT_ONCE):
            values = flat[begin : begin + AT_ONCE].to(torch.float32).numpy()
            if float(np.abs(values).max(initial=0.0)) > 65504:
                raise UserError(f"{self.level} stores half precision, and a weight is beyond 65504; use another level")
            halves[begin : begin + AT_ONCE] = self._quantize.encode(values)
        return zstd_encode(halves, ZSTD_LEVEL)

    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        data = zstd_decode(payload, 2 * prod(shape), exact=True)
        return torch.from_numpy(np.frombuffer(data, dtype="<f2").astype(np.float32)).reshape(shape)


def _make(settings: str) -> Digits:
    if settings[:1] != ":" or not settings[1:].isdecimal() or not 0 < int(settings[1:]) <= 6:
        raise UserError(f"unknown level 'digits{settings}'; write digits:1 to digits:6")
    return Digits(int(settings[1:]))


register("digits", _make)
