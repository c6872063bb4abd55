"""How the integers of a unit lie in a `grid` payload, and their way through the entropy coder.

Places with a wide step hold mostly zeros and places with a narrow one do not, so they are sorted by step
and cut into a few classes, each coded with statistics of its own. Steps are known to the decoder, so the
sorting costs nothing; each class costs a table, so small units get fewer. Long classes are cut again, so
that no more than a few million integers pass through the coder at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.codecs.length_prefix import join, split
from compress.codecs.lossless import integers_decode, integers_encode
from compress.errors import UserError
from compress.kernels.dispatch import map_in_threads

CLASSES = (1, 2, 4, 8)
WIDE = 16  # flag: integers of 32 bits
_TRY_ALL = 1 << 21  # weights up to which every number of classes is tried
_LONGEST = 1 << 23  # weights in one stream

Codes = NDArray[np.int16]
Integers = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class IntegerRun:
    """Places of one step: a rectangle of a block whose columns and outputs are sorted by their codes."""

    code: int
    block: int
    columns: slice
    outputs: slice

    @property
    def width(self) -> int:
        return self.outputs.stop - self.outputs.start

    @property
    def size(self) -> int:
        return (self.columns.stop - self.columns.start) * self.width


@dataclass(frozen=True)
class ColumnBlock:
    """Matrices that share their inputs, side by side: inputs × outputs.

    The step at a place is 2^(-(code of its input + code of its output) / 4) of the widest.
    """

    codes: Codes  # one an input
    outputs: int
    rows: Codes | None = None  # one an output; None: all 0

    @cached_property
    def column_order(self) -> NDArray[np.int64]:
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def row_order(self) -> NDArray[np.int64] | None:
        return None if self.rows is None else np.argsort(self.rows, kind="stable")

    def sorted(self, integers: Integers) -> Integers:
        """Columns and outputs in the order of their codes."""
        out = integers[self.column_order] if self.codes.any() else integers
        return out if self.row_order is None else out[:, self.row_order]

    def unsorted(self, integers: Integers) -> Integers:
        if self.row_order is not None:
            out = np.empty_like(integers)
            out[:, self.row_order] = integers
            integers = out
        if self.codes.any():
            out = np.empty_like(integers)
            out[self.column_order] = integers
            integers = out
        return integers

    def runs(self, index: int) -> list[IntegerRun]:
        rows = [(0, slice(0, self.outputs))] if self.rows is None else _stretches(self.rows)
        return [
            IntegerRun(a + b, index, columns, outputs) for a, columns in _stretches(self.codes) for b, outputs in rows
        ]


def encode_streams(blocks: Sequence[ColumnBlock], in_order: Sequence[Integers]) -> tuple[int, bytes]:
    """All streams the shortest way, and which way that is: number of classes, width of integers.

    The integers of each block are inputs × outputs, both sorted by their codes.
    """
    runs = _runs(blocks)
    ways = range(len(CLASSES)) if sum(run.size for run in runs) <= _TRY_ALL else [len(CLASSES) - 1, 0]
    best: tuple[int, bytes] | None = None
    for way in ways:
        cuts = _cuts(runs, CLASSES[way])
        if cuts is None or (best is not None and len(ways) == 2):
            continue  # too few different steps; of a large unit the first way that works is taken
        data = join(map_in_threads(lambda cut: integers_encode(_gather(in_order, runs, *cut)), list(pairwise(cuts))))
        if best is None or len(data) < len(best[1]):
            best = way, data
    assert best is not None
    return best[0] | (WIDE if in_order[0].dtype == np.int32 else 0), best[1]


def decode_streams(blocks: Sequence[ColumnBlock], way: int, data: bytes) -> list[Integers]:
    """The integers of each block again, inputs × outputs, both sorted by their codes."""
    dtype = "int32" if way & WIDE else "int16"
    way &= ~WIDE
    runs = _runs(blocks)
    cuts = _cuts(runs, CLASSES[way]) if way < len(CLASSES) else None
    if cuts is None:
        raise UserError("damaged grid payload: impossible classes")
    streams = split(data, len(cuts) - 1)
    out = [np.empty((block.codes.size, block.outputs), dtype) for block in blocks]

    def read(stream: tuple[bytes, int, int]) -> None:
        data, begin, end = stream
        values, at = integers_decode(data, end - begin, dtype), 0
        for block, columns, outputs in _pieces(runs, begin, end):
            target = out[block][columns, outputs]
            target[...] = values[at : at + target.size].reshape(target.shape)
            at += target.size

    map_in_threads(read, list(zip(streams, cuts[:-1], cuts[1:], strict=True)))
    return out


def _gather(integers: Sequence[Integers], runs: Sequence[IntegerRun], begin: int, end: int) -> Integers:
    pieces = [integers[b][columns, outputs].reshape(-1) for b, columns, outputs in _pieces(runs, begin, end)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _stretches(codes: Codes) -> list[tuple[int, slice]]:
    """Where each code lies once codes are sorted."""
    values, counts = np.unique(codes, return_counts=True)
    ends = np.cumsum(counts)
    return [(int(v), slice(int(e - n), int(e))) for v, n, e in zip(values, counts, ends, strict=True)]


def _runs(blocks: Sequence[ColumnBlock]) -> list[IntegerRun]:
    """All places of all blocks, those with the widest steps first."""
    runs = [run for index, block in enumerate(blocks) for run in block.runs(index)]
    return sorted(runs, key=lambda run: run.code)


def _pieces(runs: Sequence[IntegerRun], begin: int, end: int) -> Iterator[tuple[int, slice, slice]]:
    """What lies between two places of the order: rectangles of whole columns, or parts of one column."""
    at = 0
    for run in runs:
        first, last = max(begin - at, 0), min(end - at, run.size)
        at += run.size
        while first < last:
            column, inside = divmod(first, run.width)
            whole = (last - first) // run.width if inside == 0 else 0
            size = whole * run.width if whole else min(run.width - inside, last - first)
            start = run.columns.start + column
            left = run.outputs.start + inside
            outputs = run.outputs if whole else slice(left, left + size)
            yield run.block, slice(start, start + max(1, whole)), outputs
            first += size


def _cuts(runs: Sequence[IntegerRun], classes: int) -> list[int] | None:
    """Where streams begin and end, in weights; None when there are too few different steps for the classes.

    Classes are about equal in weights, and end where a run ends.
    """
    edges = np.cumsum([run.size for run in runs])
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
