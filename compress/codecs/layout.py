"""How the integers of a unit lie in a `grid` payload, and their way through the entropy coder.

Columns with a wide step hold mostly zeros and columns with a narrow one do not, so columns are sorted by
step and cut into a few classes, each coded with statistics of its own. Steps are known to the decoder, so
the sorting costs nothing; each class costs a table, so small units get fewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.codecs.frames import join, split
from compress.codecs.lossless import integers_decode, integers_encode
from compress.errors import Refusal

CLASSES = (1, 2, 4, 8)
_TRY_ALL = 1 << 21  # weights up to which every number of classes is tried


@dataclass(frozen=True)
class Block:
    """Matrices that share their inputs, side by side: inputs × outputs, and the code of each input's step."""

    codes: NDArray[np.int16]  # step of a column = 2^(-code / 4) of the widest
    outputs: int


def encode_streams(blocks: Sequence[Block], integers: Sequence[NDArray[np.int32]]) -> tuple[int, bytes]:
    """Streams of all classes, and the index in CLASSES of how many there are: the shortest way."""
    count = sum(values.size for values in integers)
    wide = any(np.abs(values).max(initial=0) >= 2**15 for values in integers)
    flat = _in_order(blocks, integers).astype(np.int32 if wide else np.int16)
    ways = range(len(CLASSES)) if count <= _TRY_ALL else [len(CLASSES) - 1]
    best: tuple[int, bytes] | None = None
    for way in ways:
        cuts = _cuts(blocks, CLASSES[way])
        if len(cuts) != CLASSES[way] + 1:
            continue
        data = join([integers_encode(flat[a:b]) for a, b in itertools.pairwise(cuts)])
        if best is None or len(data) < len(best[1]):
            best = way, data
    assert best is not None
    return best[0] | (16 if wide else 0), best[1]


def decode_streams(blocks: Sequence[Block], way: int, data: bytes) -> list[NDArray[np.generic]]:
    """The integers of each block again, inputs × outputs."""
    wide, way = way & 16, way & 15
    cuts = _cuts(blocks, CLASSES[way]) if way < len(CLASSES) else []
    if len(cuts) < 2 or len(cuts) != CLASSES[way] + 1:
        raise Refusal("damaged grid payload: impossible classes")
    dtype = "int32" if wide else "int16"
    streams = split(data, len(cuts) - 1)
    pieces = [integers_decode(s, b - a, dtype) for s, a, b in zip(streams, cuts[:-1], cuts[1:], strict=True)]
    flat = np.concatenate(pieces)
    out = [np.empty((block.codes.size, block.outputs), dtype) for block in blocks]
    at = 0
    for block, columns in _order(blocks):
        width = blocks[block].outputs
        size = columns.size * width
        out[block][columns] = flat[at : at + size].reshape(columns.size, width)
        at += size
    return out


def _in_order(blocks: Sequence[Block], integers: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([integers[block][columns].reshape(-1) for block, columns in _order(blocks)])


def _order(blocks: Sequence[Block]) -> list[tuple[int, NDArray[np.int64]]]:
    """Runs of columns of one block, by the code of their step."""
    runs = []
    for code in sorted({int(code) for block in blocks for code in np.unique(block.codes)}):
        for index, block in enumerate(blocks):
            columns = np.flatnonzero(block.codes == code)
            if columns.size:
                runs.append((index, columns))
    return runs


def _cuts(blocks: Sequence[Block], classes: int) -> list[int]:
    """Where classes begin and end, in weights: about equal, and never within a run."""
    edges = np.cumsum([columns.size * blocks[block].outputs for block, columns in _order(blocks)])
    total = int(edges[-1])
    wanted = [total * k / classes for k in range(1, classes)]
    inner = {int(edges[np.abs(edges - at).argmin()]) for at in wanted}
    return [0, *sorted(inner - {0, total}), total]
