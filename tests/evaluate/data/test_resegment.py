"""Re-segmentation. A small program stands in for mweralign; the real one is tried too where it is installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from evaluate.data.resegment import cut, find_program, joined, resegment

# Gives the first references one word (or character) each and the last one the rest, and notes how it was called.
PROGRAM = """#!{python}
import sys
arguments = sys.argv[1:]
named = dict(zip(arguments[::2], arguments[1::2]))
open({log!r}, "w").write(" ".join(f"{{k}} {{v}}" for k, v in named.items() if k in ("-m", "-l")))
hyp, ref = (open(named[k], encoding="utf-8").read() for k in ("-t", "-r"))
if "crash" in hyp: sys.exit("it crashed")
pieces = list(hyp.strip()) if named["-m"] == "cj" else hyp.split()
glue = "" if named["-m"] == "cj" else " "
count = len(ref.splitlines())
lines = pieces[: count - 1] + [glue.join(pieces[count - 1 :])]
if "changed" in hyp: lines[0] = "other"
if "fewer" in hyp: lines = lines[1:]
open(named["-o"], "w", encoding="utf-8").write("".join(line + " \\n" for line in lines))
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "mweralign"
    program.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "log")))
    program.chmod(0o755)
    monkeypatch.setenv("MWERALIGN", str(program))
    return tmp_path / "log"


def test_german_is_cut_by_words_and_chinese_by_characters(log: Path) -> None:
    assert resegment(["eins zwei", "drei  vier"], ["a", "b", "c"], "en-de") == ["eins", "zwei", "drei  vier"]
    assert log.read_text() == "-m none"
    assert resegment(["我们训", "练模型。"], ["甲", "乙", "丙"], "en-zh") == ["我", "们", "训练模型。"]
    assert log.read_text() == "-m cj -l zh"


def test_lines_cut_like_the_references_come_back_as_they_are(log: Path) -> None:
    lines = ["eins", " zwei", "drei z.\u00a0B.  vier "]
    assert resegment(lines, ["a", "b", "c"], "en-de") == lines
    assert log.exists()


def test_nothing_said_is_nothing_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MWERALIGN", "/not/called")
    assert resegment(["", " "], ["a", "b", "c"], "en-de") == ["", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crash it", "mweralign failed: it crashed"),
        ("changed it now", "returned another text"),
        ("fewer of them", "returned 2 lines for 3 references"),
    ],
)
def test_what_goes_wrong_is_told(log: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resegment([text], ["a", "b", "c"], "en-de")
    assert log.exists()


def test_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MWERALIGN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match=r"needs the program mweralign: pip install 'compression-search\[resegment\]'"):
        find_program()
    monkeypatch.setenv("MWERALIGN", str(tmp_path / "none"))
    with pytest.raises(UserError, match="mweralign"):
        find_program()


def test_lines_are_joined_as_the_language_writes() -> None:
    assert joined(["eins", "zwei"], "de") == "eins zwei"
    assert joined(["我们用 BERT", "and GPT", "做"], "zh") == "我们用 BERT and GPT做"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text("abc 我们。", min_size=1).filter(str.strip), min_size=1, max_size=6), st.sampled_from(["de", "zh"])
)
def test_cutting_loses_no_character(lines: list[str], language: str) -> None:
    text = joined([line.strip() for line in lines], language)
    counts = [len("".join(line.split())) for line in lines]
    pieces = cut(text, counts)
    assert ["".join(piece.split()) for piece in pieces] == ["".join(line.split()) for line in lines]


@pytest.mark.parametrize(
    ("language", "references"),
    [
        ("de", ["Wir trainieren das Modell.", "Das Modell übersetzt z.\u00a0B. Sprache.", "Danke schön."]),
        ("zh", ["我们训练模型。", "该模型使用 BERT 翻译语音。", "谢谢！"]),
    ],
)
def test_the_real_program_finds_the_cuts_again(language: str, references: list[str]) -> None:
    beside = Path(sys.executable).parent / "mweralign"
    if not (beside.is_file() or shutil.which("mweralign")):
        with pytest.raises(UserError, match="mweralign"):
            resegment(references, references, f"en-{language}")
        return
    assert resegment(references, references, f"en-{language}") == references
    assert resegment([joined(references, language)], references, f"en-{language}") == references
