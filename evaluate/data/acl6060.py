"""Reads ACL 60/60 as its zip unpacks (Salesky et al. 2023): five talks each of dev and eval, gold or shas segments.

Texts come as txt or as XML. The XML is read with regular expressions because its abstracts hold bare ampersands. Wavs
are `sent_N.wav`, sorted by number, since by name 10 comes before 2. Only the XML names the talks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from compress.errors import UserError
from evaluate.data.languages import split_pair
from evaluate.data.text import read_lines
from evaluate.data.types import ACL6060, OTHER, DataSet, Segment, check_counts

TALKS = {
    "dev": tuple(f"2022.acl-long.{number}" for number in (110, 117, 268, 367, 590)),
    "eval": tuple(f"2022.acl-long.{number}" for number in (111, 410, 468, 567, 597)),
}
SPLIT_OF = {talk: split for split, talks in TALKS.items() for talk in talks}
GOLD, SHAS, TXT, XML = "gold", "shas", "txt", "xml"
DOC = re.compile(r"<doc\b[^>]*?\bdocid\s*=\s*\"([^\"]*)\"[^>]*>(.*?)</doc>", re.DOTALL | re.IGNORECASE)
SEG = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.DOTALL | re.IGNORECASE)
WAV = re.compile(r"sent_(\d+)\.wav")


def read(root: Path, options: Sequence[str], split: str, lang: str) -> DataSet:
    """One split. `options` may name the segmentation (gold, shas) and the form of the texts (txt, xml)."""
    unknown = [option for option in options if option not in (GOLD, SHAS, TXT, XML)]
    if unknown:
        raise UserError(f"acl6060:{root},{unknown[0]}: after the folder write gold or shas, txt or xml")
    folder = _folder(root, split)
    source, target = split_pair(lang)
    if source != "en":
        raise UserError(f"ACL 60/60 is English speech: {lang} cannot be made of it")
    form = XML if XML in options or (TXT not in options and _has_only_xml(folder)) else TXT
    sources, talks = _texts(folder, split, source, form)
    references, _ = _texts(folder, split, target, form)
    segmentation = SHAS if SHAS in options else GOLD
    audio = _wavs(folder / "segmented_wavs" / segmentation)
    counts = {f"source {form}": len(sources), f"reference {form}": len(references), "segments of the talks": len(talks)}
    if segmentation == GOLD:
        counts = {"gold wavs": len(audio), **counts}
    check_counts(f"ACL 60/60 {split} in {folder}", counts)
    gold_segments = tuple(
        Segment(f"{split}_{n}", talk, audio[n - 1] if segmentation == GOLD else None, text, reference)
        for n, (talk, text, reference) in enumerate(zip(talks, sources, references, strict=True), start=1)
    )
    gold = DataSet(f"acl6060-{split}", split, lang, gold_segments, ACL6060)
    if segmentation == GOLD:
        return gold
    segments = tuple(Segment(f"{split}_shas_{n}", "", wav, "", "") for n, wav in enumerate(audio, start=1))
    return DataSet(f"acl6060-{split}-shas", split, lang, segments, ACL6060, gold)


def check_split(data: DataSet) -> None:
    """Refuses talks of the other split in any data set: else eval could be searched on as dev."""
    for segment in data.segments:
        if SPLIT_OF.get(segment.talk, data.split) not in (data.split, "train"):
            raise UserError(
                f"data {data.name}: talk {segment.talk} is of ACL 60/60 {SPLIT_OF[segment.talk]}, not of {data.split}"
            )


def origin_of(talks: Sequence[str]) -> str:
    """ACL 60/60 if every talk is one of its ten."""
    return ACL6060 if talks and all(talk in SPLIT_OF for talk in talks) else OTHER


def _folder(root: Path, split: str) -> Path:
    """The split's folder. `root` may be any level of the zip's own folders `2/acl_6060`, or the folder above them."""
    for base in (root, root / "acl_6060", root / "2" / "acl_6060"):
        if (base / split).is_dir():
            return base / split
    raise UserError(
        f"{root} holds no ACL 60/60 '{split}' (looked for {root / '2' / 'acl_6060' / split}):"
        " give the folder the zip was unpacked to"
    )


def _has_only_xml(folder: Path) -> bool:
    return not (folder / "text" / TXT).is_dir() and (folder / "text" / XML).is_dir()


def _wavs(folder: Path) -> list[Path]:
    numbered = {}
    for path in folder.glob("sent_*.wav"):
        if match := WAV.fullmatch(path.name):
            numbered[int(match.group(1))] = path
    if not numbered:
        raise UserError(f"{folder} holds no sent_N.wav: unpack the zip again")
    absent = [n for n in range(1, max(numbered) + 1) if n not in numbered]
    if absent:
        raise UserError(f"{folder / f'sent_{absent[0]}.wav'} is missing ({len(absent)} of {max(numbered)} numbers)")
    return [numbered[n] for n in sorted(numbered)]


def _texts(folder: Path, split: str, code: str, form: str) -> tuple[list[str], list[str]]:
    """Sentences and the talk of each, in the order of the files."""
    path = folder / "text" / form / f"ACL.6060.{split}.en-xx.{code}.{form}"
    if form == XML:
        segments = read_xml(path)
        return [text for _, text in segments], [talk for talk, _ in segments]
    lines = read_lines(path, allow_empty=False)
    beside = folder / "text" / XML / f"ACL.6060.{split}.en-xx.{code}.xml"
    talks = [talk for talk, _ in read_xml(beside)] if beside.is_file() else [""] * len(lines)
    return lines, talks


def read_xml(path: Path) -> list[tuple[str, str]]:
    """(talk, sentence) of every segment of a reference XML, entities decoded."""
    docs = DOC.findall("\n".join(read_lines(path)))
    segments = [(talk, _text(seg)) for talk, body in docs for seg in SEG.findall(body)]
    if not segments:
        raise UserError(f"{path} holds no <doc docid=…> with <seg>: is it a reference XML of ACL 60/60?")
    for number, (_, text) in enumerate(segments, start=1):
        if not text:
            raise UserError(f"{path}: segment {number} is empty")
    return segments


def _text(seg: str) -> str:
    return " ".join(html.unescape(seg).split())
