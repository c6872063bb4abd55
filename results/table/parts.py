"""The parts of a table: their names, the order they are read in, their schema and its version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from results.candidate import Candidate

if TYPE_CHECKING:
    import pyarrow

VERSION = 2  # 1 lacked rung, parent, kl and attempts: they are read as their defaults
VERSION_KEY = b"compression-search-table"
TYPES = {
    "str": "string",
    "int": "int64",
    "float": "float64",
    "tuple[float, ...]": "floats",
    "tuple[str, ...]": "strings",
}
NAME = re.compile(r"part-(\d{6,})(?:-(\d{6,}))?\.parquet")


class TablePart(NamedTuple):
    """A file of the table and the numbers of the appends that lie in it."""

    first: int
    last: int
    path: Path

    @property
    def span(self) -> int:
        return self.last - self.first + 1


def name_of(first: int, last: int) -> str:
    return f"part-{first:06d}.parquet" if first == last else f"part-{first:06d}-{last:06d}.parquet"


def all_parts(folder: Path) -> list[TablePart]:
    """Every part in a folder, leftovers included."""
    found = []
    for path in folder.glob("part-*.parquet"):
        if match := NAME.fullmatch(path.name):
            found.append(TablePart(int(match[1]), int(match[2] or match[1]), path))
    return found


def uncovered(parts: Iterable[TablePart]) -> list[TablePart]:
    """The parts in order, without those whose appends lie in a larger one: left over if a merge was cut short."""
    kept: list[TablePart] = []
    for part in sorted(parts, key=lambda p: (p.first, -p.last)):
        if not kept or part.last > kept[-1].last:
            kept.append(part)
    return kept


def schema() -> pyarrow.Schema:
    """The columns of the table, from the fields of Candidate."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "floats": pa.list_(pa.float32()),
        "strings": pa.list_(pa.string()),
    }
    columns = [pa.field(f.name, types[TYPES[str(f.type)]]) for f in fields(Candidate)]
    return pa.schema(columns, metadata={VERSION_KEY: str(VERSION)})


def defaults() -> dict[str, Any]:
    """What a column that an older part lacks is read as."""
    found: dict[str, Any] = {f.name: f.default for f in fields(Candidate) if f.default is not MISSING}
    return found | {f.name: () for f in fields(Candidate) if f.default_factory is not MISSING}


def version_of(metadata: dict[bytes, bytes] | None) -> int:
    """The version a part was written in; 0 if it is none of ours."""
    told = (metadata or {}).get(VERSION_KEY, b"")
    return int(told) if told.isdigit() else 0
