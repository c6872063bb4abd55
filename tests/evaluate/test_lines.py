"""Lines in, as many lines out, in their order, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import embedded
from compress.cli import run as run_command
from compress.errors import UserError
from evaluate.data.languages import NAMES, THREE_LETTERS, short_pair
from evaluate.lines import main, translate_lines
from evaluate.models import load_model


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    return load_model(str(embedded.MODEL), "cpu")


def test_there_is_a_line_for_each_in_its_place(model: tuple[Any, Any]) -> None:
    lines = ["Answers are small.", "", "   ", "Our author often writes twelve labels.", "Answers are small.", "\u2028x"]
    batched = translate_lines(*model, lines, "en-de", batch_size=3, max_new_tokens=12)
    alone = [translate_lines(*model, [line], "en-de", batch_size=1, max_new_tokens=12)[0] for line in lines]
    assert len(batched) == len(lines)
    assert (batched[1], batched[2]) == ("", "")
    assert batched[0] == batched[4] != ""
    assert batched == alone, "whatever stands beside it"
    assert not any(mark in line for line in batched for mark in ("\n", "\r", "\u2028"))
    assert translate_lines(*model, ["", " "], "en-de") == ["", ""]
    assert translate_lines(*model, [], "en-de") == []


def test_the_command_reads_line_ends_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfAnswers are small.\r\n\r\nLabels are late.")
    main(
        [
            *("--model", "embedded", "--lang-pair", "eng-zho_Hans", "--batch-size", "2", "--max-new-tokens", "8"),
            *("--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt")),
        ]
    )
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4
    assert (lines[1], lines[3]) == ("", "")
    assert lines[0]


def test_pairs_as_shared_tasks_write_them() -> None:
    assert short_pair("ces-deu") == short_pair("cs-de") == short_pair("ces_Latn-deu_Latn") == "cs-de"
    assert short_pair("eng-zho_Hans") == short_pair("en-zh_CN") == "en-zh"
    assert short_pair("eng-ara_EG") == "en-arz"
    assert set(THREE_LETTERS.values()) == set(NAMES), "every language that prompts know"
    for wrong in ("ces", "xxx-deu", "de-de", "-", "deu-deu", "cs-de-en"):
        with pytest.raises(UserError, match="unknown language pair"):
            short_pair(wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
        (["--lang-pair", "xx-yy"], "unknown language pair 'xx-yy'"),
        (["--input", "/not/there"], "/not/there is missing"),
        (["--output", "/not/there/x"], "there is no folder /not/there"),
        (["--model", "/nope"], "nope"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    (tmp_path / "in.txt").write_text("x\n", encoding="utf-8")
    arguments = ["--model", "embedded", "--lang-pair", "en-de", "--input", str(tmp_path / "in.txt")]
    assert run_command(main, [*arguments, "--output", str(tmp_path / "out.txt"), *change]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out.txt").exists()
