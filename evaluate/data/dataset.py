"""Segments of speech or text with their references, behind one small type.

A data set is named on the command line by a spec, see FORMS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.errors import UserError
from evaluate.data.languages import LANGUAGES, check_language, split_pair

__all__ = ["LANGUAGES", "DataSet", "Segment", "check_audio", "check_counts", "check_language", "open_data"]

SPLITS = ("train", "dev", "eval")
EMBEDDED, ACL6060, OTHER = "embedded", "acl6060", "other"
ORIGINS = (EMBEDDED, ACL6060, OTHER)
FORMS = (
    "embedded",
    "acl6060:DIR[,shas][,xml]",
    "manifest:FILE.csv[,AUDIO_ROOT]",
    "iwslt:SEGMENTS.yaml,WAVS_DIR,SRC.txt,REF.txt",
    "text:SRC,REF",
)
OPTIONS = ("origin", "split")


@dataclass(frozen=True)
class Segment:
    """One utterance: where its sound lies, what was said, and how it should be translated.

    Without audio the source text itself is translated. `offset` and `duration` (seconds) cut it out of a longer file.
    An empty talk means that nobody knows which talk it is of.
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
        cut = "" if self.duration is None else f" at {self.offset:.2f} s"
        return f"{self.audio}{cut}" if self.audio else f"segment {self.id}"


@dataclass(frozen=True)
class DataSet:
    """Segments of one split and language pair, in the official order, and where they come from.

    With an automatic segmentation (shas) nobody knows sources and references of its segments: then `gold` holds the
    segments with texts, and hypotheses are re-segmented before they are scored against it.
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
        """The segments that scores are of."""
        return self.gold or self

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
            raise UserError(f"--segments {count}: at least one segment is needed")
        if self.gold is not None:
            raise UserError(
                f"{self.name}: a part of an automatic segmentation cannot be scored; use all of it, or gold"
            )
        return replace(self, segments=self.segments[:count])


def check_counts(what: str, counts: dict[str, int]) -> None:
    """Refuses parallel files that do not have the same number of lines."""
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"{what}: the numbers of segments differ ({told}); use files of one release")


def check_audio(segments: Sequence[Segment]) -> None:
    """Refuses a data set whose sound files are not there, naming the first one missing."""
    files = dict.fromkeys(segment.audio for segment in segments if segment.audio is not None)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"audio file {missing[0]} is missing ({len(missing)} of {len(files)}); check the data's folder")


def read_spec(spec: str) -> tuple[str, list[str], dict[str, str]]:
    """Kind, places and options of a spec: `kind:place,place,option=value`."""
    kind, _, rest = spec.partition(":")
    places, options = [], {}
    for part in rest.split(",") if rest else ():
        name, is_option, value = part.partition("=")
        if is_option and name in OPTIONS:
            options[name] = value
        else:
            places.append(part)
    if options.get("origin", OTHER) not in ORIGINS[1:]:
        raise UserError(f"data '{spec}': origin={options['origin']} is unknown; known are {', '.join(ORIGINS[1:])}")
    return kind, places, options


def open_data(spec: str, split: str, lang: str) -> DataSet:
    """Reads the data set a spec names. Refuses what is not there in one line."""
    from evaluate.data import acl6060, iwslt, readers  # they import this file

    split_pair(lang)
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}': known are {', '.join(SPLITS)}")
    kind, places, options = read_spec(spec)
    paths = [Path(place) for place in places]
    if kind == "embedded" and not places:
        data = readers.embedded_speech(split, lang)
    elif kind == "acl6060" and places:
        data = acl6060.read(paths[0], places[1:], split, lang)
    elif kind == "manifest" and 1 <= len(places) <= 2:
        data = readers.manifest(paths[0], paths[1] if len(paths) > 1 else None, split, lang)
    elif kind == "iwslt" and len(places) == 4:
        data = iwslt.read(paths[0], paths[1], paths[2], paths[3], split, lang)
    elif kind == "text" and len(places) == 2:
        data = readers.parallel_text(paths[0], paths[1], split, lang)
    else:
        raise UserError(f"unknown data '{spec}': write one of {'  '.join(FORMS)}")
    if not data.segments:
        raise UserError(f"data '{spec}' holds no segment of split '{split}' for {lang}")
    if options.get("split", split) != split:
        raise UserError(f"data '{spec}' is the {options['split']} split, and {split} was asked for")
    if "origin" in options and data.origin == OTHER:
        data = replace(data, origin=options["origin"])
    acl6060.check_split(data)
    check_audio(data.segments)
    return data
