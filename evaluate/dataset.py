"""Segments of speech with their references, behind one small type, and the places they are read from.

A data set is named on the command line by a spec: `embedded`, `acl6060:DIR` or `manifest:FILE.csv[,ROOT]`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.errors import Refusal

SPLITS = ("train", "dev", "eval")
LANGUAGES = {"en-de": "German", "en-zh": "Chinese"}


@dataclass(frozen=True)
class Segment:
    """One utterance: where its sound lies, what was said, and how it should be translated."""

    id: str
    talk: str
    audio: Path
    source: str
    reference: str


@dataclass(frozen=True)
class DataSet:
    """Segments of one split and language pair, in the official order."""

    name: str
    split: str
    lang: str
    segments: tuple[Segment, ...]

    @property
    def sources(self) -> list[str]:
        return [segment.source for segment in self.segments]

    @property
    def references(self) -> list[str]:
        return [segment.reference for segment in self.segments]

    @property
    def digest(self) -> str:
        """Twelve hex digits over ids, sources and references: part of every score's signature."""
        lines = "\n".join(f"{s.id}\t{s.source}\t{s.reference}" for s in self.segments)
        return hashlib.sha256(f"{self.split} {self.lang}\n{lines}".encode()).hexdigest()[:12]

    def first(self, count: int | None) -> DataSet:
        """The first `count` segments (all of them for None): a cheaper, fixed part of the same data."""
        if count is None or count >= len(self.segments):
            return self
        if count < 1:
            raise Refusal(f"--segments {count}: at least one segment is needed")
        return replace(self, segments=self.segments[:count])


def check_language(lang: str) -> str:
    if lang not in LANGUAGES:
        raise Refusal(f"unknown language pair '{lang}': known are {', '.join(LANGUAGES)}")
    return lang


def check_counts(what: str, counts: dict[str, int]) -> None:
    """Refuses parallel files that do not have the same number of lines."""
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise Refusal(f"{what}: the numbers of segments differ ({told}); use files of one release")


def check_audio(segments: Sequence[Segment]) -> None:
    """Refuses a data set whose sound files are not there, naming the first one missing."""
    missing = [segment.audio for segment in segments if not segment.audio.is_file()]
    if missing:
        raise Refusal(
            f"audio file {missing[0]} is missing ({len(missing)} of {len(segments)}); check the data's folder"
        )


def open_data(spec: str, split: str, lang: str) -> DataSet:
    """Reads the data set a spec names. Refuses what is not there in one line."""
    from evaluate.readers import acl6060, embedded_speech, manifest  # the readers import this file

    check_language(lang)
    if split not in SPLITS:
        raise Refusal(f"unknown split '{split}': known are {', '.join(SPLITS)}")
    kind, _, rest = spec.partition(":")
    if kind == "embedded" and not rest:
        data = embedded_speech(split, lang)
    elif kind == "acl6060" and rest:
        data = acl6060(Path(rest), split, lang)
    elif kind == "manifest" and rest:
        file, _, root = rest.partition(",")
        data = manifest(Path(file), Path(root) if root else None, split, lang)
    else:
        raise Refusal(f"unknown data '{spec}': write embedded, acl6060:DIR or manifest:FILE.csv[,AUDIO_ROOT]")
    if not data.segments:
        raise Refusal(f"data '{spec}' holds no segment of split '{split}' for {lang}")
    check_audio(data.segments)
    return data
