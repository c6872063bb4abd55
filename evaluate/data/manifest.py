"""Reads a CSV manifest of speech; the embedded speech comes as one."""

from __future__ import annotations

import csv
from pathlib import Path

import embedded
from compress.errors import UserError
from evaluate.data.languages import split_pair
from evaluate.data.types import EMBEDDED, OTHER, DataSet, Segment


def read_embedded(split: str, lang: str) -> DataSet:
    """The speech in this repository: dev to search on, eval to report on."""
    if split == "train":
        raise UserError("the embedded training speech is not shipped: `python -m embedded.recipe` makes it again")
    return read(embedded.SPEECH / "segments.csv", embedded.SPEECH, split, lang, name=EMBEDDED, origin=EMBEDDED)


def read(path: Path, root: Path | None, split: str, lang: str, name: str | None = None, origin: str = OTHER) -> DataSet:
    """A CSV with id, split, audio_path, source_xx and target_xx, and perhaps talk; paths are relative to `root`."""
    source, target = (f"{what}_{code}" for what, code in zip(("source", "target"), split_pair(lang), strict=True))
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            needed = ("id", "split", "audio_path", source, target)
            absent = [column for column in needed if column not in (reader.fieldnames or ())]
            if absent:
                raise UserError(f"manifest {path} has no column {', '.join(absent)}")
            rows = [row for row in reader if row["split"] == split]
    except FileNotFoundError:
        raise UserError(f"manifest {path} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"manifest {path} is not UTF-8 (byte {error.start}): convert it first") from None
    except (csv.Error, OSError) as error:
        raise UserError(f"manifest {path} cannot be read: {error}") from None
    base = root or path.parent
    for number, row in enumerate(rows, start=1):
        if empty := [column for column in needed if not (row[column] or "").strip()]:
            raise UserError(f"manifest {path}: row {number} of split {split} ('{row['id']}') has no {empty[0]}")
    segments = tuple(
        Segment(row["id"], row.get("talk") or "", base / row["audio_path"], row[source], row[target]) for row in rows
    )
    return DataSet(name or path.stem, split, lang, segments, origin)
