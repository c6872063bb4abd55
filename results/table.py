"""A run's table of candidates: append-only Parquet, one small file a candidate, in one folder.

A Parquet file cannot be appended to, so the table is a folder of parts, which pandas and its like read as one
table while the search runs. A part appears whole or not at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import Refusal
from results.candidate import Candidate
from results.files import write_atomically

if TYPE_CHECKING:
    import pyarrow

VERSION = 2  # 1 lacked rung, parent, kl and attempts: they are read as their defaults
TYPES = {
    "str": "string",
    "int": "int64",
    "float": "float64",
    "tuple[float, ...]": "floats",
    "tuple[str, ...]": "strings",
}


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
    return pa.schema(columns, metadata={"compression-search-table": str(VERSION)})


class Table:
    """The candidates of one run, in the order they were finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def append(self, candidates: Iterable[Candidate]) -> None:
        """Adds a part. What was there stays untouched."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{f.name: getattr(c, f.name) for f in fields(Candidate)} for c in candidates]
        if not rows:
            return
        parts = self.parts()
        number = int(parts[-1].stem.split("-")[1]) + 1 if parts else 1
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema()), buffer, compression="zstd")
        write_atomically(self.folder / f"part-{number:06d}.parquet", buffer.getvalue())

    def read(self) -> list[Candidate]:
        """All candidates. Refuses a table that is damaged or from a newer version."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found: list[Candidate] = []
        for part in self.parts():
            try:
                table = pq.ParquetFile(part).read()
            except (pa.ArrowException, OSError) as error:
                raise Refusal(f"table part {part} is damaged ({error}): remove it and use --resume") from None
            version = int((table.schema.metadata or {}).get(b"compression-search-table", b"0"))
            if version == 0 or version > VERSION:
                raise Refusal(f"table part {part} has version {version}, this program reads 1 to {VERSION}")
            for row in table.to_pylist():
                for name, value in row.items():
                    if isinstance(value, list):
                        row[name] = tuple(value)
                found.append(Candidate(**row))
        return found
