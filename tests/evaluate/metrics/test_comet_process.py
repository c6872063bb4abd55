"""The COMET process when it misbehaves. A small program stands in for it, so that it can be made to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import evaluate
from compress.errors import UserError
from evaluate.metrics.comet import BATCHES_A_REQUEST, FIRST, Comet

SERVER = """#!{python}
import json, os, sys
folder = {folder!r}
open(os.path.join(folder, "starts"), "a").write("x")
open(os.path.join(folder, "path"), "w").write(os.environ["PYTHONPATH"])
print(json.dumps({{"checkpoint": "c", "digest": "d", "version": "v"}}), flush=True)
for line in sys.stdin:
    samples = json.loads(line)["samples"]
    open(os.path.join(folder, "requests"), "a").write("x" * len(samples))
    texts = [sample["mt"] for sample in samples]
    deadly = os.path.join(folder, "deadly")
    if any(text == "die" for text in texts) and os.path.exists(deadly):
        if open(deadly).read() == "once":
            os.remove(deadly)
        sys.exit("the last words")
    if "stop" in texts and not os.path.exists(os.path.join(folder, "stopped")):
        open(os.path.join(folder, "stopped"), "w").close()
        os.kill(os.getpid(), 19)
    if "fail" in texts:
        print(json.dumps({{"error": "OutOfMemory: no room"}}), flush=True)
        continue
    scores = [float("nan") if text == "nan" else len(text) / 7 for text in texts]
    print(json.dumps({{"scores": scores[1:] if "short" in texts else scores}}), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "python"
    program.write_text(SERVER.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("COMET_PYTHON", str(program))
    return tmp_path


def count(folder: Path, what: str) -> int:
    return len((folder / what).read_text()) if (folder / what).exists() else 0


def score(comet: Comet, texts: list[str]) -> list[float]:
    return comet.score(["s"] * len(texts), texts, ["r"] * len(texts))


def test_a_process_that_dies_is_started_again_once_and_only_its_request_asked_again(folder: Path) -> None:
    (folder / "deadly").write_text("once")
    comet = Comet("x", batch_size=1)
    texts = ["a" * n for n in range(1, 3)] + ["die"] + ["a" * n for n in range(4, 13)]
    assert score(comet, texts) == [len(text) / 7 for text in texts]
    assert count(folder, "starts") == 2
    assert count(folder, "requests") == len(texts) + BATCHES_A_REQUEST
    comet.close()


def test_a_process_that_gives_no_answer_is_ended_and_its_request_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluate.metrics.comet.LEAST", 1.0)
    comet = Comet("x", batch_size=1)
    assert comet._deadline() == FIRST, "nothing is known of how long an answer takes"
    assert score(comet, ["one"]) == [3 / 7]
    assert comet._deadline() < 60
    long = "b" * 100_000  # more than a pipe holds: the request is not even read
    assert score(comet, ["stop", long]) == [4 / 7, len(long) / 7]
    assert count(folder, "starts") == 2
    comet.close()


def test_a_second_death_is_reported_and_nothing_scored_is_lost(folder: Path) -> None:
    (folder / "deadly").write_text("always")
    comet = Comet("x", batch_size=1, cache=folder / "scores")
    short, long = ["a", "b", "c", "d"], "die-not"
    with pytest.raises(UserError, match=r"died twice \(the last words\)") as error:
        score(comet, [*short, "die", long])
    assert "\n" not in str(error.value)
    assert count(folder, "starts") == 2
    requests = count(folder, "requests")
    other = Comet("x", batch_size=1, cache=folder / "scores")
    assert score(other, short) == [1 / 7] * 4
    assert count(folder, "requests") == requests
    (folder / "deadly").unlink()
    assert score(comet, ["die"]) == [3 / 7]  # started anew when it is next needed
    comet.close()
    other.close()


def test_a_hypothesis_scored_by_an_earlier_process_is_not_scored_again(folder: Path) -> None:
    for turn in range(2):
        comet = Comet("x", cache=folder / "scores")
        assert score(comet, ["one", "two", "one"]) == [3 / 7] * 3
        assert comet.hits == (1, 3)[turn]
        comet.close()
    assert count(folder, "requests") == 2


def test_without_reuse_everything_is_asked_every_time(folder: Path) -> None:
    comet = Comet("x", reuse=False, cache=folder / "scores")
    for _ in range(2):
        score(comet, ["one", "one"])
    assert count(folder, "requests") == 4
    assert not (folder / "scores").exists()
    comet.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nan", "gave no number for 1 segments, first: 'nan'"),
        ("fail", "COMET failed: OutOfMemory: no room"),
        ("short", "gave 1 scores for 2 segments"),
    ],
)
def test_what_is_no_score_is_refused_and_not_kept(folder: Path, text: str, message: str) -> None:
    comet = Comet("x", cache=folder / "scores")
    with pytest.raises(UserError, match=message):
        score(comet, ["fine", text])
    requests = count(folder, "requests")
    score(comet, ["fine"])
    assert count(folder, "requests") == requests + 1
    comet.close()


@pytest.mark.usefixtures("folder")
def test_progress_tells_what_is_left() -> None:
    comet, calls = Comet("x", batch_size=1), []
    comet.score(["s"] * 10, ["a" * n for n in range(10)], ["r"] * 10, lambda done, total: calls.append((done, total)))
    assert calls == [(4, 10), (8, 10), (10, 10)]
    comet.close()


def test_an_interpreter_that_is_not_there_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMET_PYTHON", os.fspath(folder / "none"))
    with pytest.raises(UserError, match="check COMET_PYTHON"):
        Comet("x")


def test_another_environment_does_not_inherit_this_ones_libraries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder / "libraries-of-the-model-side"))
    Comet("x").close()
    assert (folder / "path").read_text() == str(Path(evaluate.__file__).parent.parent)
