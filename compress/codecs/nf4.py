"""`nf4`: bitsandbytes' 4-bit NormalFloat with double quantisation, with the same values.

Blocks of 64 weights in row order; each block's largest magnitude is itself stored in 8 bits, in blocks of
256, around one offset. bitsandbytes encodes; decoding is plain torch, and a test holds the two equal.
"""

from __future__ import annotations

from functools import cache
from math import prod

import torch
from torch import Tensor

from compress.bitsandbytes import import_bitsandbytes
from compress.codecs.base import AT_ONCE, EachAlone, Shape
from compress.codecs.raw import read_tensors, to_bytes
from compress.codecs.registry import register_plain

BLOCK = 64  # weights that share a scale
OUTER = 256  # scales that share a scale
# The sixteen values of NF4 (QLoRA, appendix E).
_VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


class NF4(EachAlone):
    level = "nf4"

    def encode_one(self, weight: Tensor) -> bytes:
        functional = import_bitsandbytes().functional
        # Piece by piece, to bound memory; double quantisation of all scales together is what bitsandbytes does.
        codes, largest = [], []
        for part in weight.detach().cpu().contiguous().reshape(-1).split(AT_ONCE):
            packed, state = functional.quantize_4bit(part, blocksize=BLOCK, compress_statistics=False, quant_type="nf4")
            codes.append(to_bytes(packed))
            largest.append(state.absmax)
        scales = torch.cat(largest)
        offset = scales.mean()
        inner, outer = functional.quantize_blockwise(scales - offset, blocksize=OUTER)
        return b"".join([*(to_bytes(t) for t in (offset.reshape(1), outer.absmax, inner)), *codes])

    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor:
        count = prod(shape)
        blocks = -(-count // BLOCK)
        outer = -(-blocks // OUTER)
        floats, codes = torch.float32, torch.uint8
        fields = (((1,), floats), ((outer,), floats), ((blocks,), codes), ((-(-count // 2),), codes))
        offset, scales, inner, pairs = read_tensors(payload, "nf4 tensor", *fields)
        largest = _dynamic_map()[inner.long()] * scales.repeat_interleave(OUTER)[:blocks] + offset
        numbers = torch.stack((pairs >> 4, pairs & 15), dim=1).reshape(-1)[:count].long()
        values = torch.tensor(_VALUES, dtype=torch.float32)[numbers] * largest.repeat_interleave(BLOCK)[:count]
        return values.to(dtype).reshape(shape)


@cache
def _dynamic_map() -> Tensor:
    """The signed 8-bit dynamic code of bitsandbytes: seven decades, more fraction bits in the larger ones."""
    values: list[float] = []
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1, dtype=torch.float32)
        means = (edges[:-1] + edges[1:]) / 2.0
        scaled = 10.0 ** (decade - 6) * means
        values += [*scaled.tolist(), *(-scaled).tolist()]
    return torch.tensor(sorted([*values, 0.0, 1.0]), dtype=torch.float32)


register_plain(NF4())
