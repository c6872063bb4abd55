"""Re-segments translations of another segmentation to match the references, with mweralign.

mweralign (GPL) is not imported but called as a program, with its offline tokenizers only: `-m none`, and `-m cj` by
character for languages written without spaces. Only the positions of its cuts are used: the text itself is cut from
the translations, character for character.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from compress.errors import UserError
from evaluate.data.languages import WITHOUT_SPACES

PROGRAM = "mweralign"


def find_program() -> str:
    """Named by MWERALIGN, in this Python's folder, or on the PATH; else a UserError that says what to install."""
    named = os.environ.get("MWERALIGN")
    beside = Path(sys.executable).parent / PROGRAM
    program = named or (str(beside) if beside.is_file() else shutil.which(PROGRAM))
    if not program or (named and not shutil.which(named)):
        raise UserError(
            "re-segmentation needs the program mweralign: pip install 'compression-search[resegment]', or name the"
            " program in MWERALIGN"
        )
    return program


def resegment(hypotheses: Sequence[str], references: Sequence[str], lang: str) -> list[str]:
    """One line a reference. Lines that are cut like the references already are returned unchanged."""
    language = lang.split("-")[-1]
    text = joined([line.strip() for line in hypotheses if line.strip()], language)
    if not references:
        raise UserError("re-segmentation needs references")
    if not text:
        return [""] * len(references)
    cuts = _run(find_program(), " ".join(text.split()), [" ".join(line.split()) for line in references], language)
    counts = [len(_bare(line)) for line in cuts]
    if sum(counts) != len(_bare(text)) or "".join(map(_bare, cuts)) != _bare(text):
        raise UserError("mweralign returned another text than its input: please report this with its version")
    if counts == [len(_bare(line)) for line in hypotheses]:
        return list(hypotheses)
    return cut(text, counts)


def joined(lines: Sequence[str], language: str) -> str:
    """The lines as one text, a space between two; in languages without spaces only between Latin words."""
    text = ""
    for line in lines:
        latin = (text[-1:] + line[:1]).isascii() and text[-1:].isalnum() and line[:1].isalnum()
        text += (" " if text and (latin or language not in WITHOUT_SPACES) else "") + line
    return text


def cut(text: str, counts: Sequence[int]) -> list[str]:
    """Pieces of the text with so many characters each, spaces not counted."""
    positions = [position for position, character in enumerate(text) if not character.isspace()]
    pieces = []
    for count, end in zip(counts, accumulate(counts), strict=True):
        pieces.append(text[positions[end - count] : positions[end - 1] + 1] if count else "")
    return pieces


def _bare(line: str) -> str:
    return "".join(line.split())


def _run(program: str, text: str, references: Sequence[str], language: str) -> list[str]:
    cut_by = ["-m", "cj", "-l", language] if language in WITHOUT_SPACES else ["-m", "none"]
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "hyp").write_text(text + "\n", encoding="utf-8")
        (at / "ref").write_text("".join(f"{line}\n" for line in references), encoding="utf-8")
        command = [program, "-r", str(at / "ref"), "-t", str(at / "hyp"), "-o", str(at / "out"), *cut_by]
        try:
            process = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{program} cannot be started: {error.strerror}") from None
        if process.returncode or not (at / "out").is_file():
            message = (process.stderr.strip().splitlines() or ["no message"])[-1][:200]
            raise UserError(f"mweralign failed: {message}")
        lines = (at / "out").read_text(encoding="utf-8").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) != len(references):
        raise UserError(f"mweralign returned {len(lines)} lines for {len(references)} references")
    return lines
