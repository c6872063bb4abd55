"""Unquantized tensors (norms, biases, positions), losslessly compressed.

The tensors of one group are written together: bit patterns through PCodec or Zstandard, whichever is smaller. Of
sinusoidal positions only a flag is written, since every machine can compute them; of a repeated value, one copy.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from compress.codecs.base import Shape
from compress.codecs.length_prefix import join, split
from compress.codecs.lossless import integers_decode, integers_encode, zstd_decode, zstd_encode
from compress.codecs.raw import from_bytes, to_bytes
from compress.errors import UserError

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PLAIN, _REPEATED, _SINUSOIDS = 0, 16, 32
_RAW, _PCODEC, _ZSTD = 0, 1, 2


def encode_unquantized(tensors: Sequence[Tensor]) -> bytes:
    """One byte a tensor for its dtype and kind, then one stream of bit patterns for each dtype."""
    heads, streams = bytearray(), dict.fromkeys(_DTYPES, b"")
    for tensor in tensors:
        if tensor.dtype not in streams:
            raise UserError(f"a tensor of dtype {tensor.dtype} cannot be stored; give a floating-point checkpoint")
        kind, data = _PLAIN, to_bytes(tensor)
        first = data[: tensor.dtype.itemsize]
        if _is_sinusoids(tensor):
            kind, data = _SINUSOIDS, b""
        elif len(data) > len(first) and data == first * tensor.numel():
            kind, data = _REPEATED, first
        heads.append(_DTYPES.index(tensor.dtype) | kind)
        streams[tensor.dtype] += data
    return bytes(heads) + join([_compress(data, dtype.itemsize) for dtype, data in streams.items()])


def decode_unquantized(blob: bytes, shapes: Sequence[Shape]) -> list[Tensor]:
    """The tensors, bit for bit."""
    heads, body = blob[: len(shapes)], blob[len(shapes) :]
    if len(heads) < len(shapes) or any(head & 15 >= len(_DTYPES) for head in heads):
        raise UserError("damaged unquantized tensors: unknown kind")
    entries, needed = [], dict.fromkeys(_DTYPES, 0)
    for head, shape in zip(heads, shapes, strict=True):
        kind, dtype = head & ~15, _DTYPES[head & 15]
        if kind not in (_PLAIN, _REPEATED, _SINUSOIDS) or (kind == _SINUSOIDS and len(shape) != 2):
            raise UserError("damaged unquantized tensors: unknown kind")
        count = {_PLAIN: prod(shape), _REPEATED: 1, _SINUSOIDS: 0}[kind]
        entries.append((kind, dtype, shape, count))
        needed[dtype] += count
    parts = split(body, len(_DTYPES))
    streams = {d: io.BytesIO(_decompress(part, needed[d], d.itemsize)) for d, part in zip(_DTYPES, parts, strict=True)}
    tensors = []
    for kind, dtype, shape, count in entries:
        if kind == _SINUSOIDS:
            tensors.append(sinusoids(shape[0], shape[1], dtype))
        else:
            value = from_bytes(streams[dtype].read(count * dtype.itemsize), (count,), dtype)
            tensors.append((value.repeat(prod(shape)) if kind == _REPEATED else value).reshape(shape))
    return tensors


def _compress(data: bytes, width: int) -> bytes:
    """Bit patterns by the shortest of three codings, whose number comes first."""
    if not data:
        return b""
    patterns = np.frombuffer(data, dtype=f"<u{width}")
    planes = np.frombuffer(data, dtype=np.uint8).reshape(-1, width).T.tobytes()
    codings = {_RAW: data, _PCODEC: integers_encode(patterns), _ZSTD: zstd_encode(planes, 19)}
    best = min(codings, key=lambda coding: (len(codings[coding]), coding))
    return bytes((best,)) + codings[best]


def _decompress(part: bytes, count: int, width: int) -> bytes:
    if count == 0 and not part:
        return b""
    coding, data, nbytes = part[:1], part[1:], count * width
    if coding == bytes((_PCODEC,)):
        return integers_decode(data, count, f"<u{width}").tobytes()
    if coding == bytes((_ZSTD,)):
        planes = np.frombuffer(zstd_decode(data, nbytes, exact=True), dtype=np.uint8)
        return planes.reshape(width, -1).T.tobytes()
    if coding != bytes((_RAW,)) or len(data) != nbytes:
        raise UserError("damaged unquantized tensors: their stream has the wrong length")
    return data


def sinusoids(length: int, channels: int, dtype: torch.dtype) -> Tensor:
    """Whisper's position embeddings: sines of log-spaced frequencies, then cosines."""
    if channels % 2 or channels < 4 or length * channels > 1 << 26:
        raise UserError(f"damaged unquantized tensors: no sinusoids of shape ({length}, {channels})")
    step = math.log(10000) / (channels // 2 - 1)
    frequencies = torch.exp(-step * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(dtype)


def _is_sinusoids(tensor: Tensor) -> bool:
    """In half precision only: in float32 the last bit of a sine may differ between machines."""
    if tensor.dim() != 2 or tensor.dtype not in (torch.float16, torch.bfloat16):
        return False
    length, channels = tensor.shape
    if channels % 2 or channels < 4 or length * channels > 1 << 26:
        return False
    return bool(torch.equal(tensor.cpu(), sinusoids(length, channels, tensor.dtype)))
