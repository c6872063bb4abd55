"""Reads IWSLT's list of segments: a YAML that cuts long wavs by offset and duration, with a text line for each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from compress.errors import UserError, first_line
from evaluate.data.acl6060 import origin_of
from evaluate.data.text import read_lines
from evaluate.data.types import DataSet, Segment, check_counts


def read(file: Path, wavs: Path, source: Path, reference: Path, split: str, lang: str) -> DataSet:
    """Segments in the order of the YAML, which is also that of the lines of both texts. A wav is a talk."""
    entries = read_segments(file)
    sources, references = read_lines(source, allow_empty=False), read_lines(reference, allow_empty=False)
    counts = {file.name: len(entries), str(source): len(sources), str(reference): len(references)}
    check_counts(f"segments {file}", counts)
    segments = tuple(
        Segment(f"{Path(wav).stem}_{number}", Path(wav).stem, wavs / wav, text, translation, offset, duration)
        for number, ((wav, offset, duration), text, translation) in enumerate(
            zip(entries, sources, references, strict=True), start=1
        )
    )
    return DataSet(f"iwslt-{file.stem}", split, lang, segments, origin_of([segment.talk for segment in segments]))


def read_segments(file: Path) -> list[tuple[str, float, float]]:
    """(wav, offset, duration) of every entry, seconds."""
    import yaml

    try:
        entries: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise UserError(f"segments file {file} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}): convert it first") from None
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"segments file {file} is not YAML: {first_line(error)}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"segments file {file} holds no list of segments")
    return [_entry(entry, number, file) for number, entry in enumerate(entries, start=1)]


def _entry(entry: Any, number: int, file: Path) -> tuple[str, float, float]:
    try:
        wav, offset, duration = entry["wav"], float(entry["offset"]), float(entry["duration"])
        if type(wav) is not str:  # a nest of aliases would take hours to be written out
            raise TypeError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"segments file {file}: entry {number} has no wav, offset and duration") from None
    if not (math.isfinite(offset) and math.isfinite(duration) and offset >= 0 and duration > 0):
        raise UserError(f"segments file {file}: entry {number} has offset {offset} and duration {duration}")
    if Path(wav).is_absolute() or ".." in Path(wav).parts:
        raise UserError(f"segments file {file}: entry {number} names {wav}, outside the folder of wavs")
    return wav, offset, duration
