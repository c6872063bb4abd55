"""`raw:bf16`, `raw:fp16`, `raw:fp32`: the weights as they are, in a chosen floating-point format."""

from __future__ import annotations

import io
from math import prod

import torch
from torch import Tensor

from compress.codecs.base import AT_ONCE, EachAlone, Shape
from compress.codecs.registry import register
from compress.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FORMATS = {dtype: name for name, dtype in DTYPES.items()}


class Raw(EachAlone):
    def __init__(self, format: str) -> None:
        self.format = format
        self.dtype = DTYPES[format]
        self.level = f"raw:{format}"

    def encode_one(self, weight: Tensor) -> bytes:
        out = io.BytesIO()  # hands over what it holds without a copy
        for part in weight.detach().reshape(-1).split(AT_ONCE):
            stored = part.to("cpu", self.dtype)
            if self.format == "fp16" and bool(torch.isinf(stored).any()):
                raise UserError("raw:fp16 cannot hold this tensor: a weight is beyond 65504; use raw:bf16")
            out.write(stored.view(torch.uint8).numpy().data)
        return out.getvalue()

    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        return from_bytes(payload, shape, self.dtype)


def to_bytes(tensor: Tensor) -> bytes:
    """The memory of a tensor, row by row, little-endian."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def from_bytes(payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:
    return read_tensors(payload, "tensor", (shape, dtype))[0]


def read_tensors(payload: bytes, what: str, *fields: tuple[Shape, torch.dtype]) -> list[Tensor]:
    """Tensors that lie one behind the other. Refuses a payload of another length before anything is allocated."""
    sizes = [prod(shape) * dtype.itemsize for shape, dtype in fields]
    if len(payload) != sum(sizes):
        raise UserError(f"damaged {what}: {len(payload)} bytes where {sum(sizes)} are needed")
    stream = io.BytesIO(payload)
    return [
        torch.frombuffer(bytearray(stream.read(size)), dtype=dtype).reshape(shape)
        for size, (shape, dtype) in zip(sizes, fields, strict=True)
    ]


def _make(settings: str) -> Raw:
    if settings[:1] != ":" or settings[1:] not in DTYPES:
        raise UserError(f"unknown level 'raw{settings}'; there are raw:bf16, raw:fp16 and raw:fp32")
    return Raw(settings[1:])


register("raw", _make)
