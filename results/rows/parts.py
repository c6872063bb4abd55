"""The parts of a table: their names, the order they are read in, their schema and its version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from compress.errors import UserError
from results.candidate import Candidate

if TYPE_CHECKING:
    import pyarrow

# 1 lacked rung, parent, kl and attempts, which are read as their defaults; 2 the status "held-out"; 3 had the column of
# seconds under a name that promised more.
VERSION = 4
RENAMED = {"cached_seconds_per_segment": "seconds_per_segment"}  # columns of today, and what they were called before
VERSION_KEY = b"compression-search-table"
NAME = re.compile(r"part-(\d{6,})(?:-(\d{6,}))?\.parquet")


class MissingPart(UserError):
    """A table has later parts than one that is not there."""


class TablePart(NamedTuple):
    """A file of the table and the numbers of the appends that it holds."""

    first: int
    last: int
    path: Path

    @property
    def span(self) -> int:
        return self.last - self.first + 1


def name_of(first: int, last: int) -> str:
    return f"part-{first:06d}.parquet" if first == last else f"part-{first:06d}-{last:06d}.parquet"


def all_parts(folder: Path) -> list[TablePart]:
    """Every part in a folder, leftovers of an interrupted merge included."""
    parts = []
    for path in folder.glob("part-*.parquet"):
        if match := NAME.fullmatch(path.name):
            parts.append(TablePart(int(match[1]), int(match[2] or match[1]), path))
    return parts


def uncovered(parts: Iterable[TablePart]) -> list[TablePart]:
    """The parts in order, without those whose appends are also in a larger part, left over by an interrupted merge."""
    kept: list[TablePart] = []
    for part in sorted(parts, key=lambda p: (p.first, -p.last)):
        if not kept or part.last > kept[-1].last:
            kept.append(part)
    return kept


def readable_parts(folder: Path) -> list[TablePart]:
    """The parts to read, in order. Raises MissingPart if rows are lost that nobody gave up."""
    parts = uncovered(all_parts(folder))
    after = 1
    for part in sorted([*parts, *_given_up(folder)], key=lambda p: p.first):
        if part.first > after:
            lacking = folder / name_of(after, part.first - 1)
            raise MissingPart(
                f"table {folder} lacks {lacking.name}: put it back, or give its candidates up with"
                f" `touch {lacking.with_suffix('.lost')}` and use --resume"
            )
        after = max(after, part.last + 1)
    return parts


def _given_up(folder: Path) -> list[TablePart]:
    """Empty files that stand for parts whose candidates are given up: the part's name, but `.lost`."""
    matches = ((path, NAME.fullmatch(path.with_suffix(".parquet").name)) for path in folder.glob("part-*.lost"))
    return [TablePart(int(match[1]), int(match[2] or match[1]), path) for path, match in matches if match]


def schema() -> pyarrow.Schema:
    """The columns of the table, from the fields of Candidate."""
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "tuple[float, ...]": pa.list_(pa.float32()),
        "tuple[str, ...]": pa.list_(pa.string()),
    }
    columns = [pa.field(f.name, types[str(f.type)]) for f in fields(Candidate)]
    return pa.schema(columns, metadata={VERSION_KEY: str(VERSION)})


def column_in(column: str, written: Sequence[str]) -> str:
    """What a column of today is called in a part with these columns."""
    return RENAMED[column] if column in RENAMED and column not in written else column


def complete(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    """The rows of a part in today's columns. Those that an older part lacks have their defaults."""
    import pyarrow as pa

    columns = []
    for field in schema():
        name = column_in(field.name, table.column_names)
        if name in table.column_names:
            columns.append(table.column(name).cast(field.type))
            continue
        default = Candidate.__dataclass_fields__[field.name].default
        if default is MISSING:
            raise UserError(f"table part {path} lacks the column {field.name}: it is not a table of this program")
        columns.append(pa.array([default] * table.num_rows, field.type))
    return pa.Table.from_arrays(columns, schema=schema())


def version_of(metadata: dict[bytes, bytes] | None) -> int:
    """The version a part was written in; 0 if it is not part of a run's table."""
    version = (metadata or {}).get(VERSION_KEY, b"")
    return int(version) if version.isdigit() else 0
