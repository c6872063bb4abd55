"""How the integers of a unit lie in a `grid` payload, and their way through the entropy coder.

Columns with a wide step hold mostly zeros and columns with a narrow one do not, so columns are sorted by
step and cut into a few classes, each coded with statistics of its own. Steps are known to the decoder, so
the sorting costs nothing; each class costs a table, so small units get fewer. Long classes are cut again,
so that no more than a few million integers pass through the coder at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compress.codecs.frames import join, split
from compress.codecs.lossless import integers_decode, integers_encode
from compress.errors import Refusal

CLASSES = (1, 2, 4, 8)
WIDE = 16  # flag: integers of 32 bits
_TRY_ALL = 1 << 21  # weights up to which every number of classes is tried
_LONGEST = 1 << 23  # weights in one stream


@dataclass(frozen=True)
class Block:
    """Matrices that share their inputs, side by side: inputs × outputs, and the code of each input's step."""

    codes: NDArray[np.int16]  # step of a column = 2^(-code / 4) of the widest
    outputs: int


def encode_streams(blocks: Sequence[Block], integers: Sequence[NDArray[np.generic]]) -> tuple[int, bytes]:
    """All streams the shortest way, and which way that is: number of classes, width of integers."""
    count = sum(values.size for values in integers)
    ways = range(len(CLASSES)) if count <= _TRY_ALL else [len(CLASSES) - 1]
    best: tuple[int, bytes] | None = None
    for way in ways:
        cuts = _cuts(blocks, CLASSES[way])
        if cuts is None:
            continue
        data = join([integers_encode(_gather(blocks, integers, a, b)) for a, b in pairwise(cuts)])
        if best is None or len(data) < len(best[1]):
            best = way, data
    if best is None:  # all columns have one step: there is only one class
        cuts = _cuts(blocks, 1)
        assert cuts is not None
        best = 0, join([integers_encode(_gather(blocks, integers, a, b)) for a, b in pairwise(cuts)])
    return best[0] | (WIDE if integers[0].dtype == np.int32 else 0), best[1]


def decode_streams(blocks: Sequence[Block], way: int, data: bytes) -> list[NDArray[np.generic]]:
    """The integers of each block again, inputs × outputs."""
    dtype = "int32" if way & WIDE else "int16"
    way &= ~WIDE
    cuts = _cuts(blocks, CLASSES[way]) if way < len(CLASSES) else None
    if cuts is None:
        raise Refusal("damaged grid payload: impossible classes")
    streams = split(data, len(cuts) - 1)
    out = [np.empty((block.codes.size, block.outputs), dtype) for block in blocks]
    for stream, begin, end in zip(streams, cuts[:-1], cuts[1:], strict=True):
        values, at = integers_decode(stream, end - begin, dtype), 0
        for block, columns, places in _pieces(blocks, begin, end):
            size = columns.size * (places.stop - places.start)
            out[block][columns, places] = values[at : at + size].reshape(columns.size, -1)
            at += size
    return out


def _gather(
    blocks: Sequence[Block], integers: Sequence[NDArray[np.generic]], begin: int, end: int
) -> NDArray[np.generic]:
    return np.concatenate(
        [integers[b][columns, places].reshape(-1) for b, columns, places in _pieces(blocks, begin, end)]
    )


def _runs(blocks: Sequence[Block]) -> list[tuple[int, NDArray[np.int64]]]:
    """Columns of one block and one code of step, the widest steps first."""
    runs = []
    for code in sorted({int(code) for block in blocks for code in np.unique(block.codes)}):
        for index, block in enumerate(blocks):
            columns = np.flatnonzero(block.codes == code)
            if columns.size:
                runs.append((index, columns))
    return runs


def _pieces(blocks: Sequence[Block], begin: int, end: int) -> Iterator[tuple[int, NDArray[np.int64], slice]]:
    """What lies between two places of the sorted order: rectangles of whole columns, or parts of one column."""
    at = 0
    for index, columns in _runs(blocks):
        width = blocks[index].outputs
        first, last = max(begin - at, 0), min(end - at, columns.size * width)
        at += columns.size * width
        while first < last:
            column, inside = divmod(first, width)
            whole = (last - first) // width if inside == 0 else 0
            stop = first + (whole * width if whole else min(width - inside, last - first))
            places = slice(0, width) if whole else slice(inside, inside + stop - first)
            yield index, columns[column : column + max(1, whole)], places
            first = stop


def _cuts(blocks: Sequence[Block], classes: int) -> list[int] | None:
    """Where streams begin and end, in weights; None when there are too few different steps for the classes.

    Classes are about equal in weights, and end where a run ends.
    """
    edges = np.cumsum([columns.size * blocks[block].outputs for block, columns in _runs(blocks)])
    total = int(edges[-1])
    wanted = [total * k / classes for k in range(1, classes)]
    inner = {int(edges[np.abs(edges - at).argmin()]) for at in wanted} - {0, total}
    if len(inner) != classes - 1:
        return None
    cuts = [0]
    for end in [*sorted(inner), total]:
        begin = cuts[-1]
        pieces = -(-(end - begin) // _LONGEST)
        cuts += [begin + (end - begin) * k // pieces for k in range(1, pieces + 1)]
    return cuts
