"""Segment and DataSet: speech or text with references, whatever files they come from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.errors import UserError

SPLITS = ("train", "dev", "eval")
EMBEDDED, ACL6060, OTHER = "embedded", "acl6060", "other"
ORIGINS = (EMBEDDED, ACL6060, OTHER)


@dataclass(frozen=True)
class Segment:
    """One utterance: its audio file, its transcript, and its reference translation.

    Without audio the source text itself is translated. `offset` and `duration` (seconds) cut it out of a longer file.
    An empty talk means that the talk is not known.
    """

    id: str
    talk: str
    audio: Path | None
    source: str
    reference: str
    offset: float = 0.0
    duration: float | None = None

    @property
    def where(self) -> str:
        """What an error message calls it."""
        position = "" if self.duration is None else f" at {self.offset:.2f} s"
        return f"{self.audio}{position}" if self.audio else f"segment {self.id}"


@dataclass(frozen=True)
class DataSet:
    """Segments of one split and language pair, in the official order.

    Segments of an automatic segmentation (shas) have no sources and references. `gold` then holds the segments with
    texts, and hypotheses are re-segmented before they are scored against it.
    """

    name: str
    split: str
    lang: str
    segments: tuple[Segment, ...]
    origin: str = OTHER
    gold: DataSet | None = None

    @property
    def sources(self) -> list[str]:
        return [segment.source for segment in self.segments]

    @property
    def references(self) -> list[str]:
        return [segment.reference for segment in self.segments]

    @property
    def is_text(self) -> bool:
        """Whether text is translated, not speech."""
        return all(segment.audio is None for segment in self.segments)

    @property
    def scored(self) -> DataSet:
        """The segments that hypotheses are scored against."""
        return self.gold or self

    @property
    def digest(self) -> str:
        """Twelve hex digits over ids, sources and references: part of every score's signature."""
        lines = "\n".join(f"{s.id}\t{s.source}\t{s.reference}" for s in self.segments)
        return hashlib.sha256(f"{self.split} {self.lang}\n{lines}".encode()).hexdigest()[:12]

    def signature(self, cleaned: bool) -> str:
        """The part of a score's signature that names the data, and whether hypotheses were cleaned."""
        clean = "yes" if cleaned else "no"
        count = len(self.segments)
        return f"data:{self.name}:{self.split}:{self.lang}|segments:{count}|datadigest:{self.digest}|clean:{clean}"

    def first(self, count: int | None) -> DataSet:
        """The first `count` segments (all of them for None): a cheaper, fixed part of the same data."""
        if count is None or count >= len(self.segments):
            return self
        if count < 1:
            raise UserError(f"--segments {count}: at least one segment is needed")
        if self.gold is not None:
            raise UserError(
                f"{self.name}: a part of an automatic segmentation cannot be scored; use all of it, or gold"
            )
        return replace(self, segments=self.segments[:count])


def check_counts(what: str, counts: dict[str, int]) -> None:
    """Refuses parallel files that do not have the same number of lines."""
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"{what}: the numbers of segments differ ({listed}); use files of one release")


def check_audio(segments: Sequence[Segment]) -> None:
    """Refuses a data set with missing audio files, naming the first."""
    files = dict.fromkeys(segment.audio for segment in segments if segment.audio is not None)
    missing = [file for file in files if not os.path.isfile(file)]  # pathlib's raises for names that are too long
    if missing:
        raise UserError(f"audio file {missing[0]} is missing ({len(missing)} of {len(files)}); check the data's folder")
