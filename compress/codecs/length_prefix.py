"""Several byte strings as one: the lengths of all but the last as varints, then the strings."""

from __future__ import annotations

from collections.abc import Sequence

from compress.errors import UserError


def put_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def take_varint(data: bytes, at: int) -> tuple[int, int]:
    """The value at an offset, and the offset behind it."""
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            raise UserError("damaged data: it ends inside a number")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise UserError("damaged data: a number of more than 63 bits")


def join(parts: Sequence[bytes]) -> bytes:
    return b"".join(put_varint(len(part)) for part in parts[:-1]) + b"".join(parts)


def split(data: bytes, count: int) -> list[bytes]:
    lengths, at = [], 0
    for _ in range(count - 1):
        length, at = take_varint(data, at)
        lengths.append(length)
    rest = len(data) - at - sum(lengths)
    if rest < 0:
        raise UserError(f"damaged data: parts of {sum(lengths)} bytes in {len(data) - at}")
    out = []
    for length in [*lengths, rest]:
        out.append(data[at : at + length])
        at += length
    return out
