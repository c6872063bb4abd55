"""Cuts translations of another segmentation so that they match the references, with mweralign.

mweralign (GPL) is not imported but called as a program, with its offline tokenizers only: `-m none`, and `-m cj` by
character for languages written without spaces. It answers where to cut; the text itself is cut from what was given,
character for character.
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
    """`MWERALIGN`, beside this Python, or on the PATH. Refuses in one line that says what to install."""
    named = os.environ.get("MWERALIGN")
    beside = Path(sys.executable).parent / PROGRAM
    found = named or (str(beside) if beside.is_file() else shutil.which(PROGRAM))
    if not found or (named and not shutil.which(named)):
        raise UserError(
            "re-segmentation needs the program mweralign: pip install 'compression-search[resegment]', or name the"
            " program in MWERALIGN"
        )
    return found


def resegment(hypotheses: Sequence[str], references: Sequence[str], lang: str) -> list[str]:
    """As many lines as there are references. Lines that are cut like the references already come back unchanged."""
    language = lang.split("-")[-1]
    text = joined([line.strip() for line in hypotheses if line.strip()], language)
    if not references:
        raise UserError("re-segmentation needs references")
    if not text:
        return [""] * len(references)
    cuts = _run(find_program(), " ".join(text.split()), [" ".join(line.split()) for line in references], language)
    counts = [len(_bare(line)) for line in cuts]
    if sum(counts) != len(_bare(text)) or "".join(map(_bare, cuts)) != _bare(text):
        raise UserError("mweralign gave back another text than it was given: please report this with its version")
    if counts == [len(_bare(line)) for line in hypotheses]:
        return list(hypotheses)
    return _cut(text, counts)


def joined(lines: Sequence[str], language: str) -> str:
    """One text: a space between two lines, but where the language has none only between Latin words."""
    text = ""
    for line in lines:
        latin = (text[-1:] + line[:1]).isascii() and text[-1:].isalnum() and line[:1].isalnum()
        text += (" " if text and (latin or language not in WITHOUT_SPACES) else "") + line
    return text


def _cut(text: str, counts: Sequence[int]) -> list[str]:
    """Pieces of the text with so many characters each, spaces not counted."""
    places = [place for place, character in enumerate(text) if not character.isspace()]
    found = []
    for count, end in zip(counts, accumulate(counts), strict=True):
        found.append(text[places[end - count] : places[end - 1] + 1] if count else "")
    return found


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
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{program} cannot be started: {error.strerror}") from None
        if done.returncode or not (at / "out").is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
            raise UserError(f"mweralign failed: {said}")
        lines = (at / "out").read_text(encoding="utf-8").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) != len(references):
        raise UserError(f"mweralign gave {len(lines)} lines for {len(references)} references")
    return lines
