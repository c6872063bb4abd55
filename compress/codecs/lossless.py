"""Zstandard and PCodec as numcodecs gives them, with every size known before anything is allocated."""

from __future__ import annotations

import numpy as np
from numcodecs.pcodec import PCodec
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from pcodec import standalone

from compress.errors import UserError, first_line

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Classic mode and no deltas: codes of a quantiser are independent draws, so looking for structure in them
# only costs bytes. Level 12 is within 0.2-0.5 % of the entropy where level 8 is within 0.5-1 %.
_INTEGERS = PCodec(level=12, mode_spec="classic", delta_spec="none")


def zstd_encode(data: bytes | NDArray[np.generic], level: int) -> bytes:
    return bytes(Zstd(level=level).encode(data))


def zstd_decode(data: bytes, most: int, exact: bool = False) -> bytes:
    """Decompress what claims at most (or exactly) `most` bytes; the claim is read, not trusted."""
    claimed = _zstd_size(data)
    if claimed is None:
        raise UserError(f"damaged Zstandard data: its {len(data)} bytes do not begin with a header that gives a size")
    if claimed > most or (exact and claimed != most):
        wanted = f"{'' if exact else 'at most '}{most}"
        raise UserError(f"damaged Zstandard data: it claims {claimed} bytes where {wanted} are expected")
    try:
        out = bytes(Zstd().decode(data))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"damaged Zstandard data: {first_line(error)}") from None
    if len(out) != claimed:
        raise UserError(f"damaged Zstandard data: {len(out)} bytes came out of {claimed} claimed")
    return out


def _zstd_size(data: bytes) -> int | None:
    """Frame_Content_Size of the first frame (RFC 8878, 3.1.1.1); None when there is none to trust."""
    if len(data) < 6 or data[:4] != _ZSTD_MAGIC:
        return None
    descriptor = data[4]
    single = descriptor >> 5 & 1
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    if width == 0 or len(data) < at + width:
        return None
    return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)


def integers_encode(values: NDArray[np.generic]) -> bytes:
    """Integers (16 or 32 bits, signed or not) through PCodec."""
    return bytes(_INTEGERS.encode(np.ascontiguousarray(values).reshape(-1)))


def integers_decode(data: bytes, count: int, dtype: str) -> NDArray[np.generic]:
    """Exactly `count` integers; memory is bounded by the count, which the caller knows."""
    check_ratio(count, len(data))
    out = np.zeros(count, dtype=dtype)
    try:
        progress = standalone.simple_decompress_into(data, out)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"damaged PCodec data: {first_line(error)}") from None
    except BaseException as error:  # a panic of the Rust library derives from BaseException
        if type(error).__name__ != "PanicException":
            raise
        raise UserError("damaged PCodec data: the decoder gave up") from None
    if progress.n_processed != count or not progress.finished:
        raise UserError(f"damaged PCodec data: {progress.n_processed} of {count} integers came out")
    return out


def check_ratio(count: int, nbytes: int) -> None:
    """A few bytes that claim billions of weights are a lie: refuse them before memory is taken."""
    if count > most_weights(nbytes):
        raise UserError(f"damaged data: {nbytes} bytes claim to hold {count} weights")


def most_weights(nbytes: int) -> int:
    """How many weights so many bytes may hold: a thirtieth of a bit each, and a few million for nothing."""
    return (1 << 24) + 256 * nbytes
