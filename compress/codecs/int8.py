"""`int8`: the weights as bitsandbytes' LLM.int8 stores them, with the same values.

One float32 scale a row (its largest magnitude, in half precision as bitsandbytes takes it) and one byte a
weight. Written in plain torch so that decoding needs no bitsandbytes; a test holds the two equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compress.codecs.base import AT_ONCE, EachAlone, Shape, flat_shape
from compress.codecs.raw import read_tensors, to_bytes
from compress.codecs.registry import register_plain
from compress.errors import UserError

_INVERSE_127 = 7.874015718698502e-3  # the constant bitsandbytes multiplies by


class Int8(EachAlone):
    level = "int8"

    def encode_one(self, weight: Tensor) -> bytes:
        matrix = weight.detach().reshape(weight.shape[0], -1)
        pieces = [_row_codes(part) for part in matrix.split(max(1, AT_ONCE // matrix.shape[1]))]
        return b"".join([to_bytes(largest) for largest, _ in pieces] + [to_bytes(codes) for _, codes in pieces])

    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        height, width = flat_shape(shape)
        fields = (((height, 1), torch.float32), ((height, width), torch.int8))
        largest, codes = read_tensors(payload, "int8 tensor", *fields)
        return (codes * largest * _INVERSE_127).reshape(shape)


def _row_codes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The largest magnitude of each row, and the codes."""
    half = matrix.cpu().to(torch.float16)
    if bool(torch.isinf(half).any()):
        raise UserError("int8 works in half precision, and a weight is beyond 65504; use another level")
    largest = half.abs().amax(dim=1, keepdim=True).to(torch.float32)
    scaled = half.to(torch.float32) * (127.0 / largest)
    return largest, torch.round(torch.where(largest > 0, scaled, torch.zeros_like(scaled))).to(torch.int8)


register_plain(Int8())
