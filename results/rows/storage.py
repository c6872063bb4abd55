"""A run's table of candidates: a folder of Parquet files, one a candidate, that is only appended to.

A Parquet file cannot be appended to, so the table is a folder of parts, which pandas, polars and duckdb read as one
table while the search runs. A part appears whole or not at all, and is never changed. Many small parts are merged
(results/rows/compaction.py), so that the 100,000th append costs what the first did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from compress.errors import UserError, first_line
from results.atomic_write import replacing
from results.candidate import HELD_OUT, PRUNED, STATUSES, Candidate
from results.rows.compaction import GROUP, compact, tidy
from results.rows.parts import (
    VERSION,
    MissingPart,
    TablePart,
    column_in,
    complete,
    name_of,
    readable_parts,
    schema,
    version_of,
)

TEXTS = ("comet_segments", "hypotheses")  # nearly all bytes of a row, and seldom needed
COLUMNS = tuple(f.name for f in fields(Candidate))
NAMES = ("candidate", "recipe", "bin", "vocabulary", "policy", "signature", "parent")  # shown in terminals
FLOATS = {f.name for f in fields(Candidate) if f.type == "float"}
MOST_READS = 20  # attempts to read while a merge keeps changing the folder
T = TypeVar("T")


class Table:
    """The candidates of one run, in the order they were finished. One process appends, any number read."""

    def __init__(self, folder: Path, make: bool = True) -> None:
        self.folder = folder
        self._parts: list[TablePart] | None = None  # of the folder, once this process has appended
        self._recent: dict[Path, Any] = {}  # rows of parts not merged yet, which saves reading them again
        if make:
            folder.mkdir(parents=True, exist_ok=True)

    def parts(self) -> list[Path]:
        return [part.path for part in readable_parts(self.folder)]

    def append(self, candidates: Iterable[Candidate]) -> None:
        """Adds a part. Existing parts stay untouched, except that now and then many small ones are merged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = list(candidates)
        if not rows:
            return
        if self._parts is None:
            tidy(self.folder)
            self._parts = readable_parts(self.folder)
        table = pa.Table.from_pydict({name: [getattr(c, name) for c in rows] for name in COLUMNS}, schema=schema())
        number = self._parts[-1].last + 1 if self._parts else 1
        part = TablePart(number, number, self.folder / name_of(number, number))
        with replacing(part.path) as beside:
            pq.write_table(table, beside, compression="zstd", write_page_checksum=True)
        before, self._parts = self._parts, None  # listed again if merging fails
        self._parts = [*compact(self.folder, before, self._recent), part]
        self._recent[part.path] = table

    def read(self, texts: bool = True) -> list[Candidate]:
        """All candidates; without `texts`, with empty translations and scores of segments (TEXTS).

        Raises UserError for a table that is damaged or of a newer version. If a merge removes a part meanwhile,
        everything is read again.
        """
        columns = [name for name in COLUMNS if texts or name not in TEXTS]
        return self._retrying(lambda: [c for part in self.parts() for c in _read_part(part, columns)])

    def read_by_name(self, names: Collection[str]) -> dict[str, Candidate]:
        """Complete rows of some candidates, by name; only the parts that hold them are decoded in full."""

        def read() -> dict[str, Candidate]:
            rows: dict[str, Candidate] = {}
            for part in self.parts():
                if any(c.candidate in names for c in _read_part(part, [n for n in COLUMNS if n not in TEXTS])):
                    rows |= {c.candidate: c for c in _read_part(part, COLUMNS, names)}
            return rows

        return self._retrying(read) if names else {}

    def _retrying(self, reading: Callable[[], T]) -> T:
        for attempt in range(1, MOST_READS + 1):
            try:
                return reading()
            except FileNotFoundError:
                continue
            except MissingPart:  # of a listing made while a merge renamed and removed
                if attempt == MOST_READS:
                    raise
        raise UserError(f"table {self.folder} keeps changing while it is read: try again")


def _read_part(path: Path, columns: Sequence[str], names: Collection[str] | None = None) -> list[Candidate]:
    """Rows of one part. Columns that it lacks get their defaults."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_version(path, version_of(file.schema_arrow.metadata))
            written = file.schema_arrow.names
            held = [name for column in columns if (name := column_in(column, written)) in written]
            if names is None:
                table = file.read(held)
            else:  # a few rows of many: the texts of the others are never all in memory
                wanted = pa.array(sorted(names), pa.string())
                pieces = (pa.Table.from_batches([batch]) for batch in file.iter_batches(GROUP, columns=held))
                matches = [piece.filter(pc.is_in(piece.column("candidate"), value_set=wanted)) for piece in pieces]
                table = pa.concat_tables(matches) if matches else file.read(held)
        columns_of_rows = complete(table, path).to_pydict()
    except (FileNotFoundError, UserError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise UserError(
            f"table part {path} is damaged ({first_line(error)}): move it away, `touch"
            f" {path.with_suffix('.lost')}` and use --resume, which scores its candidates again"
        ) from None
    values = []
    for name, column in zip(COLUMNS, columns_of_rows.values(), strict=True):
        if name in TEXTS:
            column = [tuple(value or ()) for value in column]
        elif name in FLOATS:
            column = [math.nan if value is None else value for value in column]
        elif None in column:
            raise UserError(f"table part {path} is damaged: column {name} has holes")
        values.append(column)
    rows = [_with_held_out(Candidate(*row)) for row in zip(*values, strict=True)]
    if unclean := next((c for c in rows if not all(getattr(c, name).isprintable() for name in NAMES)), None):
        raise UserError(
            f"table part {path} is damaged: candidate {unclean.candidate!r} has control characters in a name"
        )
    if unknown := next((c for c in rows if c.status not in STATUSES), None):
        raise UserError(
            f"table part {path} is damaged: candidate {unknown.candidate} has the status {unknown.status!r}"
        )
    for row in rows:
        if reason := row.invalid_value:
            raise UserError(f"table part {path} is damaged: of candidate {row.candidate} {reason}")
    return rows


def _with_held_out(row: Candidate) -> Candidate:
    """Before version 3 a recovery scored on held-out talks had the status of a pruned candidate, at rung "part"."""
    if row.parent and row.status == PRUNED and row.rung == "part":
        return replace(row, status=HELD_OUT)
    return row


def _check_version(path: Path, version: int) -> None:
    if version == 0:
        raise UserError(f"{path} is not a part of a run's table: it has no version")
    if version > VERSION:
        raise UserError(
            f"table part {path} has version {version}, this program reads 1 to {VERSION}: update the program"
        )
