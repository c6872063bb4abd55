"""Parallel text files, a sentence a line: line N of one file belongs to line N of the other."""

from __future__ import annotations

from pathlib import Path

from compress.errors import UserError
from evaluate.data.types import DataSet, Segment, check_counts


def read(source: Path, reference: Path, split: str, lang: str) -> DataSet:
    """Sentences to translate and their references."""
    sources, references = read_lines(source, allow_empty=False), read_lines(reference, allow_empty=False)
    check_counts("text", {str(source): len(sources), str(reference): len(references)})
    segments = tuple(
        Segment(str(number), "", None, *texts)
        for number, texts in enumerate(zip(sources, references, strict=True), start=1)
    )
    return DataSet(f"text-{source.stem}", split, lang, segments)


def read_lines(path: Path, allow_empty: bool = True) -> list[str]:
    """The lines of a UTF-8 file. Only line feeds end a line: U+2028 and form feeds do occur inside sentences."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): convert it first") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not lines[-1]:
        lines.pop()
    if not allow_empty and (empty := empty_lines(lines)):
        raise UserError(f"{path}: line {empty[0]} is empty ({len(empty)} in all)")
    return lines


def empty_lines(lines: list[str]) -> list[int]:
    """Numbers, from 1, of the lines that hold nothing but spaces."""
    return [number for number, line in enumerate(lines, start=1) if not line.strip()]


def check_writable(path: Path) -> None:
    """Refuses a file that could not be written later, before the work that its content takes."""
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}; make it, or give another path")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; give the path of a file")


def write_lines(path: Path, lines: list[str]) -> None:
    """Writes the file atomically, a text a line; a line break inside a text becomes a space."""
    one_line = [" ".join(line.splitlines()) for line in lines]
    try:
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(f"{line}\n" for line in one_line), encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
