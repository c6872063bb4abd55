"""Scores, their signatures and comparisons, and the command that prints them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sacrebleu

from compress.cli import run
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.metrics.comet import Comet
from evaluate.metrics.scores import score, versus
from evaluate.score import main as score_command

COUNT = 8
CALL = ["--data", "embedded", "--lang", "en-zh", "--segments", str(COUNT)]


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data("embedded", "dev", "en-zh").first(COUNT)


@pytest.fixture
def files(tmp_path: Path, data: DataSet) -> tuple[Path, Path]:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("".join(f"{line}\n" for line in data.references), encoding="utf-8")
    bad.write_text("".join(f"翻译：{line[::-1]}\n" for line in data.references), encoding="utf-8")
    return good, bad


@pytest.fixture
def comet_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Equal commands share one COMET process."""
    start, close = cache(Comet), Comet.close
    started: list[Comet] = []
    monkeypatch.setattr("evaluate.score.Comet", start)
    monkeypatch.setattr(Comet, "close", lambda comet: started.append(comet))
    yield
    for comet in started:
        close(comet)


def test_figures_are_those_of_sacrebleu(data: DataSet) -> None:
    hypotheses = [line[:-3] for line in data.references]
    by_metric = {each.metric: each for each in score(hypotheses, data)}
    references = [data.references]
    assert by_metric["chrF"].value == sacrebleu.corpus_chrf(hypotheses, references).score
    assert by_metric["chrF++"].value == sacrebleu.corpus_chrf(hypotheses, references, word_order=2).score
    assert by_metric["BLEU"].value == sacrebleu.corpus_bleu(hypotheses, references, tokenize="zh").score
    for each in by_metric.values():
        assert each.low <= each.value <= each.high
    assert "tok:zh" in by_metric["BLEU"].signature
    assert "nw:2" in by_metric["chrF++"].signature
    assert f"segments:{COUNT}|datadigest:{data.digest}|clean:no|nrefs:1|bs:1000" in by_metric["chrF"].signature


def test_intervals_end_where_their_metric_does(data: DataSet) -> None:
    for hypotheses in ([*data.references[:-1], data.references[-1][:-1]], ["x"] * (COUNT - 1) + data.references[-1:]):
        for each in score(hypotheses, data):
            assert 0 <= each.low <= each.high <= 100, each


def test_versus_tells_systems_apart_and_not_from_themselves(data: DataSet) -> None:
    worse = [line[::-1] for line in data.references]
    by_metric = {each.metric: each for each in versus(data.references, worse, data, ([0.9] * COUNT, [0.1] * COUNT))}
    assert list(by_metric) == ["COMET", "chrF", "chrF++", "BLEU"]
    assert all(each.difference > 0 and each.p < 0.05 for each in by_metric.values())
    same = versus(worse, worse, data)
    assert all(each.difference == 0 and each.p > 0.5 for each in same)


@pytest.mark.usefixtures("comet_once")
def test_the_command_scores_and_compares(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = files
    kept = ["--cache", str(tmp_path / "scores"), "--threads", "1"]
    call = ["--hyp", str(good), "--versus", str(bad), *CALL, *kept]
    assert run(score_command, [*call, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    scores = [{each["metric"]: each["value"] for each in system["scores"]} for system in results["systems"]]
    assert scores[0]["COMET"] > 0.9 > scores[1]["COMET"]
    assert scores[0]["BLEU"] == pytest.approx(100)
    assert results["systems"][1]["cleaned"]["preamble"] == COUNT
    assert results["versus"][0]["p"] < 0.05
    assert run(score_command, call) == 0
    out = capsys.readouterr()
    assert f"COMET {scores[0]['COMET']:.4f} [" in out.out
    assert "metric:comet|checkpoint:model.ckpt|digest:" in out.out
    assert "paired bootstrap" in out.out
    assert "not comparable with wmt22-comet-da" in out.err


def test_clean_up_can_be_switched_off_and_listed(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, bad = files
    assert run(score_command, ["--hyp", str(bad), *CALL, "--comet", "none", "--list-changes"]) == 0
    out = capsys.readouterr()
    assert f"clean-up changed {COUNT} of {COUNT} segments (preamble {COUNT}, quotes 0, spaces 0)" in out.err
    assert "1 preamble: '翻译：" in out.err
    assert "clean:yes" in out.out
    assert run(score_command, ["--hyp", str(bad), *CALL, "--comet", "none", "--no-cleanup"]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert "clean:no" in out.out


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (b"a\nb\n", [], f"has 2 lines, embedded (dev) has {COUNT} segments"),
        (b"a\n" * 7 + b"\n", [], "line 8 is empty (1 in all)"),
        (b"a\n" * 7 + b"\xff\n", [], "is not UTF-8 (byte 14)"),
        (None, [], "hyp.txt is missing"),
        (b"a\n" * 8, ["--comet", "/not/there.ckpt"], "neither a checkpoint nor a hub name"),
        (b"a\n" * 8, ["--lang", "en-fr"], "no column target_fr"),
        (b"a\n" * 8, ["--versus", "/not/there.txt"], "/not/there.txt is missing"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, more: list[str], message: str
) -> None:
    if content is not None:
        (tmp_path / "hyp.txt").write_bytes(content)
    assert run(score_command, ["--hyp", str(tmp_path / "hyp.txt"), *CALL, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_silence_can_be_scored_if_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "hyp.txt").write_text("a\n" * 7 + "\n")
    assert run(score_command, ["--hyp", str(tmp_path / "hyp.txt"), *CALL, "--comet", "none", "--allow-empty"]) == 0
