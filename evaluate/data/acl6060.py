"""ACL 60/60 as its zip unpacks (Salesky et al. 2023): five talks of dev, five of eval, gold and automatic segments.

The texts come as txt or as XML; the XML is read by pattern because its abstracts hold bare ampersands. Wavs are
`sent_N.wav`, sorted by number, since by name 10 comes before 2. Talks are known from the XML only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from compress.errors import UserError
from evaluate.data.dataset import ACL6060, OTHER, DataSet, Segment, check_counts
from evaluate.data.languages import split_pair
from evaluate.data.lines import read_lines

TALKS = {
    "dev": tuple(f"2022.acl-long.{number}" for number in (110, 117, 268, 367, 590)),
    "eval": tuple(f"2022.acl-long.{number}" for number in (111, 410, 468, 567, 597)),
}
SPLIT_OF = {talk: split for split, talks in TALKS.items() for talk in talks}
GOLD, SHAS, TXT, XML = "gold", "shas", "txt", "xml"
DOC = re.compile(r"<doc\b[^>]*?\bdocid\s*=\s*\"([^\"]*)\"[^>]*>(.*?)</doc>", re.DOTALL | re.IGNORECASE)
SEG = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.DOTALL | re.IGNORECASE)
WAV = re.compile(r"sent_(\d+)\.wav")


def read(root: Path, wanted: Sequence[str], split: str, lang: str) -> DataSet:
    """One split with the segmentation (gold, shas) and the form of texts (txt, xml) that are wanted."""
    unknown = [word for word in wanted if word not in (GOLD, SHAS, TXT, XML)]
    if unknown:
        raise UserError(f"acl6060:{root},{unknown[0]}: after the folder write gold or shas, txt or xml")
    folder = _folder(root, split)
    source, target = split_pair(lang)
    if source != "en":
        raise UserError(f"ACL 60/60 is English speech: {lang} cannot be made of it")
    form = XML if XML in wanted else TXT
    if not wanted_txt(wanted) and not (folder / "text" / TXT).is_dir() and (folder / "text" / XML).is_dir():
        form = XML
    sources, talks = _texts(folder, split, source, form)
    references, _ = _texts(folder, split, target, form)
    segmentation = SHAS if SHAS in wanted else GOLD
    audio = _wavs(folder / "segmented_wavs" / segmentation)
    counts = {f"source {form}": len(sources), f"reference {form}": len(references), "segments of the talks": len(talks)}
    if segmentation == GOLD:
        counts = {"gold wavs": len(audio), **counts}
    check_counts(f"ACL 60/60 {split} in {folder}", counts)
    gold = DataSet(
        f"acl6060-{split}",
        split,
        lang,
        tuple(
            Segment(f"{split}_{n}", talk, audio[n - 1] if segmentation == GOLD else None, said, meant)
            for n, (talk, said, meant) in enumerate(zip(talks, sources, references, strict=True), start=1)
        ),
        ACL6060,
    )
    if segmentation == GOLD:
        return gold
    segments = tuple(Segment(f"{split}_shas_{n}", "", wav, "", "") for n, wav in enumerate(audio, start=1))
    return DataSet(f"acl6060-{split}-shas", split, lang, segments, ACL6060, gold)


def wanted_txt(wanted: Sequence[str]) -> bool:
    return TXT in wanted or XML in wanted


def check_split(data: DataSet) -> None:
    """Refuses talks of the other split, whatever file they come in: eval would be searched on as dev."""
    for segment in data.segments:
        if SPLIT_OF.get(segment.talk, data.split) not in (data.split, "train"):
            raise UserError(
                f"data {data.name}: talk {segment.talk} is of ACL 60/60 {SPLIT_OF[segment.talk]}, not of {data.split}"
            )


def origin_of(talks: Sequence[str]) -> str:
    """ACL 60/60 if every talk is one of its ten."""
    return ACL6060 if talks and all(talk in SPLIT_OF for talk in talks) else OTHER


def _folder(root: Path, split: str) -> Path:
    """The split's folder, whether the zip's own folders `2/acl_6060` are given, or hold it, or were left out."""
    for base in (root, root / "acl_6060", root / "2" / "acl_6060"):
        if (base / split).is_dir():
            return base / split
    raise UserError(
        f"{root} holds no ACL 60/60 '{split}' (looked for {root / '2' / 'acl_6060' / split}):"
        " give the folder the zip was unpacked to"
    )


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
        found = read_xml(path)
        return [text for _, text in found], [talk for talk, _ in found]
    lines = read_lines(path, allow_empty=False)
    beside = folder / "text" / XML / f"ACL.6060.{split}.en-xx.{code}.xml"
    talks = [talk for talk, _ in read_xml(beside)] if beside.is_file() else [""] * len(lines)
    return lines, talks


def read_xml(path: Path) -> list[tuple[str, str]]:
    """(talk, sentence) for every segment of a reference XML, entities undone."""
    docs = DOC.findall("\n".join(read_lines(path)))
    found = list(chain.from_iterable(((talk, _text(seg)) for seg in SEG.findall(body)) for talk, body in docs))
    if not found:
        raise UserError(f"{path} holds no <doc docid=…> with <seg>: is it a reference XML of ACL 60/60?")
    if any(not text for _, text in found):
        number = next(n for n, (_, text) in enumerate(found, start=1) if not text)
        raise UserError(f"{path}: segment {number} is empty")
    return found


def _text(seg: str) -> str:
    return " ".join(html.unescape(seg).split())
