"""Many small parts of a table become one, so that reading and appending stay fast at 100,000 candidates.

FAN neighbouring parts of one size make a part FAN times as large, up to LARGEST appends: a handful of large parts, at
most FAN of each smaller size, and every row is rewritten at most twice. The merged part appears under its final name at
once, and only then do those it holds go. So a kill at any moment leaves every row in the folder, some perhaps twice;
its name says which appends it holds, by which our own reader leaves the doubles out, and the next writer removes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from compress.errors import UserError, first_line
from results.atomic_write import full_disk
from results.table.parts import VERSION, TablePart, all_parts, defaults, name_of, schema, uncovered, version_of

FAN = 128
LARGEST = FAN * FAN  # appends in one part
GROUP = 1024  # rows decoded and encoded at once: bounds the memory of a merge


def mergeable(parts: Sequence[TablePart]) -> list[TablePart]:
    """FAN neighbours of one size, or nothing."""
    run: list[TablePart] = []
    for part in parts:
        if run and run[0].span != part.span:
            run = []
        if part.span < LARGEST:
            run.append(part)
        if len(run) == FAN:
            return run
    return []


def compact(folder: Path, parts: Sequence[TablePart], known: MutableMapping[Path, Any]) -> list[TablePart]:
    """Merges while there is something to merge; returns what is left. `parts` are the uncovered ones, and `known` the
    rows of some of them; those that were merged go from it."""
    left = list(parts)
    while some := mergeable(left):
        first, last = some[0].first, some[-1].last
        merged = TablePart(first, last, folder / name_of(first, last))
        merge([part.path for part in some], merged.path, known)
        for part in some:
            part.path.unlink(missing_ok=True)
            known.pop(part.path, None)
        left = uncovered([*(part for part in left if part not in some), merged])
    return left


def merge(parts: Sequence[Path], path: Path, known: Mapping[Path, Any] | None = None) -> None:
    """Writes the rows of all parts into one, in the newest version's schema, a bounded number of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(beside, schema(), compression="zstd") as writer:
            waiting: list[Any] = []
            for number, part in enumerate(parts, start=1):
                if known and part in known:
                    waiting.append(known[part])
                else:
                    with pq.ParquetFile(part) as file:
                        waiting += [_modern(pa.Table.from_batches([batch])) for batch in file.iter_batches(GROUP)]
                if number == len(parts) or sum(table.num_rows for table in waiting) >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except (OSError, pa.ArrowException) as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise full_disk(error, path) from None
        raise UserError(f"parts of the table {path.parent} cannot be merged: {first_line(error)}") from None


def tidy(folder: Path) -> None:
    """Before the first append of a process: ends a merge that was killed, and renews parts of an older version,
    because pandas takes the columns of a whole table from its first part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = uncovered(all_parts(folder))
    for part in all_parts(folder):
        if part not in kept:
            part.path.unlink(missing_ok=True)
    for path in folder.glob(".part-*.part"):
        path.unlink(missing_ok=True)
    for part in kept:
        try:
            version = version_of(pq.read_schema(part.path).metadata)
        except (pa.ArrowException, OSError):
            continue  # damaged: whoever reads the table says so
        if 0 < version < VERSION:
            merge([part.path], part.path)


def _modern(table: Any) -> Any:
    """Rows in today's columns."""
    import pyarrow as pa

    wanted, missing = schema(), defaults()
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.array([missing[field.name]] * table.num_rows, field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)
