"""Merges small parts of a table, so that reading and appending stay fast at 100,000 candidates.

FAN neighbouring parts of one size become a part FAN times as large, up to LARGEST appends, so a row is rewritten at
most twice. The merged part appears under its final name at once; the small ones are removed after that. A kill at any
moment therefore leaves every row in the folder, some perhaps twice: the name of a part says which appends it holds, by
which our reader leaves duplicates out and the next writer removes them.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from compress.errors import UserError, first_line
from results.atomic_write import replacing
from results.rows.parts import VERSION, TablePart, all_parts, complete, name_of, schema, uncovered, version_of

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
    """Merges while there is something to merge. Returns the parts that remain.

    `parts` are the uncovered ones; `known` holds the rows of some of them, and merged ones are removed from it.
    """
    left = list(parts)
    while some := mergeable(left):
        first, last = some[0].first, some[-1].last
        merged = TablePart(first, last, folder / name_of(first, last))
        merge_parts([part.path for part in some], merged.path, known)
        for part in some:
            part.path.unlink(missing_ok=True)
            known.pop(part.path, None)
        left = uncovered([*(part for part in left if part not in some), merged])
    return left


def merge_parts(parts: Sequence[Path], path: Path, known: Mapping[Path, Any] | None = None) -> None:
    """Writes the rows of all parts into one, in today's schema, a bounded number of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with replacing(path) as beside, _writer(beside) as writer:
            waiting: list[Any] = []
            for number, part in enumerate(parts, start=1):
                if known and part in known:
                    waiting.append(known[part])
                else:
                    with pq.ParquetFile(part, page_checksum_verification=True) as file:
                        batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(GROUP))
                        waiting += [complete(table, part) for table in batches]
                if number == len(parts) or sum(table.num_rows for table in waiting) >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"parts of the table {path.parent} cannot be merged: {first_line(error)}") from None


def _writer(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema(), compression="zstd", write_page_checksum=True)


def tidy(folder: Path) -> None:
    """Before the first append of a process: finishes a merge that was killed, and rewrites parts that lack columns,
    because pandas takes the columns of the whole table from its first part."""
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
            written = pq.read_schema(part.path)
        except (pa.ArrowException, OSError, ValueError):
            continue  # damaged: reading the table reports it
        if 0 < version_of(written.metadata) < VERSION and written.names != schema().names:
            merge_parts([part.path], part.path)
