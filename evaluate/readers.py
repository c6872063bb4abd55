"""Reads the layouts that speech-translation data comes in: the embedded set, ACL 60/60, and CSV manifests."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import embedded
from compress.errors import Refusal
from evaluate.dataset import DataSet, Segment, check_counts


def embedded_speech(split: str, lang: str) -> DataSet:
    """The speech that the repository carries: dev to search on, eval to report on."""
    if split == "train":
        raise Refusal("the embedded training speech is not shipped: `python -m embedded.recipe` makes it again")
    return manifest(embedded.SPEECH / "segments.csv", embedded.SPEECH, split, lang, name="embedded")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, the last newline not counted as a line."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Refusal(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 (byte {error.start}): convert it first") from None


def acl6060(root: Path, split: str, lang: str) -> DataSet:
    """The official tree, gold segmentation: `sent_N.wav` are sorted by number, since by name 10 comes before 2."""
    base = root / "2" / "acl_6060" if (root / "2" / "acl_6060").is_dir() else root
    folder = base / split
    if not folder.is_dir():
        raise Refusal(
            f"{root} holds no ACL 60/60 '{split}' (looked for {folder}): give the folder the zip was unpacked to"
        )
    target = lang.split("-")[1]
    text = folder / "text" / "txt"
    sources = read_lines(text / f"ACL.6060.{split}.en-xx.en.txt")
    references = read_lines(text / f"ACL.6060.{split}.en-xx.{target}.txt")
    numbered = []
    for path in (folder / "segmented_wavs" / "gold").glob("sent_*.wav"):
        match = re.fullmatch(r"sent_(\d+)\.wav", path.name)
        if match:
            numbered.append((int(match.group(1)), path))
    audio = [path for _, path in sorted(numbered)]
    check_counts(
        f"ACL 60/60 {split}",
        {"gold wavs": len(audio), "source text": len(sources), "reference text": len(references)},
    )
    segments = tuple(
        Segment(f"{split}_{n}", f"{split}", wav, source, reference)
        for n, (wav, source, reference) in enumerate(zip(audio, sources, references, strict=True), start=1)
    )
    return DataSet(f"acl6060-{split}", split, lang, segments)


def manifest(path: Path, root: Path | None, split: str, lang: str, name: str | None = None) -> DataSet:
    """A CSV with id, split, audio_path, source_en and target_xx; audio paths are relative to `root`."""
    target = f"target_{lang.split('-')[1]}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            needed = ("id", "split", "audio_path", "source_en", target)
            absent = [column for column in needed if column not in (reader.fieldnames or ())]
            if absent:
                raise Refusal(f"manifest {path} has no column {', '.join(absent)}")
            rows = [row for row in reader if row["split"] == split]
    except FileNotFoundError:
        raise Refusal(f"manifest {path} is missing") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"manifest {path} is not UTF-8 (byte {error.start}): convert it first") from None
    base = root or path.parent
    segments = tuple(
        Segment(row["id"], row.get("talk") or row["id"], base / row["audio_path"], row["source_en"], row[target])
        for row in rows
    )
    return DataSet(name or path.stem, split, lang, segments)
