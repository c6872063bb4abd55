"""The command lines: one-line refusals, exit code 2, and a teacher trained, killed and gone on with."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import compress
from compress.cli import run
from compress.errors import UserError
from search import published, recover, teach
from search.config import Config
from search.recovery.systems import SYSTEMS, SystemBuild, refuse_kind
from tests.commands import refused
from tests.commands import run as command
from tests.compress.tiny import save_tiny
from tests.results.examples import candidate, make_run
from tests.search.recovery.speech import manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


def refusal(main: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(main, arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_teacher_is_a_plain_folder_that_learnt(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = manifest(tmp_path / "speech")
    arguments = ["--model", str(model), "--data", spec, "--lang", "en-de", "--batch", "2", "--held-out", "0.25"]
    arguments += ["--set", "learning_rate=3e-3", "--set", "epochs=6", "--device", "cpu"]
    teach.main([*arguments, "--out", str(tmp_path / "teacher")])
    told = [line for line in capsys.readouterr().out.splitlines() if "held out" in line and "step" in line]
    first, last = (float(line.rsplit(" ", 1)[1]) for line in (told[0], told[-1]))
    assert last < first
    tuned, start = compress.Source.open(tmp_path / "teacher"), compress.Source.open(model)
    assert tuned.dtype == start.dtype == torch.bfloat16
    moved = [n for n in start.structure.unquantized if not torch.equal(tuned.tensor(n), start.tensor(n))]
    assert moved
    assert not any("embed_positions" in name for name in moved)
    assert not (tmp_path / ".teacher.training").exists()
    assert "exists already" in refusal(teach.main, [*arguments, "--out", str(tmp_path / "teacher")], capsys)


def test_a_teacher_goes_on_from_its_checkpoint(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = manifest(tmp_path / "speech")
    told = {"learning_rate": 1e-3, "checkpoint_every": 2, "epochs": 2}

    def go(out: Path) -> None:
        teach.teach(str(model), spec, "train", "en-de", out, held_out=0.25, batch=2, settings=told, device="cpu")

    go(tmp_path / "whole")

    def cut(entry: dict[str, Any]) -> None:
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teach, "_print_entry", cut)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    go(tmp_path / "cut")
    assert compress.Source.open(tmp_path / "cut").digest == compress.Source.open(tmp_path / "whole").digest


def test_bad_input_is_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--model", str(model), "--lang", "en-de", "--out", str(tmp_path / "t")]
    spec = manifest(tmp_path / "speech")
    assert "eval split" in refusal(
        teach.main, [*base, "--data", manifest(tmp_path / "e", split="eval"), "--split", "eval"], capsys
    )
    assert "unknown training setting" in refusal(teach.main, [*base, "--data", spec, "--set", "epoch=1"], capsys)
    assert "write NAME=VALUE" in refusal(teach.main, [*base, "--data", spec, "--set", "epochs"], capsys)
    assert "is missing" in refusal(teach.main, [*base, "--data", "manifest:nowhere.csv"], capsys)
    assert "unknown data" in refusal(teach.main, [*base, "--data", "magic"], capsys)
    assert "no run at" in refusal(recover.main, [str(tmp_path / "nowhere")], capsys)
    assert "unknown method" in refusal(recover.main, [str(tmp_path), "--methods", "magic"], capsys)
    out = ["--lang", "en-de", "--out", str(tmp_path / "s")]
    assert "unknown system" in refusal(published.main, ["palomino", *out], capsys)
    assert "--train is missing" in refusal(published.main, ["diet", "--data", spec, *out], capsys)


@pytest.mark.parametrize("share", ["nan", "2", "0", "-1"])
def test_a_share_to_hold_out_is_refused_before_anything_starts(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "speak", lambda _: pytest.fail("speech was made"))
    told = f"--held-out {share}: give a share between 0 and 1"
    assert told in refusal(recover.main, [str(tmp_path), f"--held-out={share}"], capsys)
    data = ["--lang", "en-de", f"--held-out={share}", "--out", str(tmp_path / "t")]
    assert told in refusal(teach.main, ["--data", "embedded", *data], capsys)
    assert told in refusal(published.main, ["diet", *data], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("--train-batch=0", "--train-batch 0: at least 1"),
        ("--gpus-per-worker=nan", "--gpus-per-worker nan"),
        ("--workers=-1", "--workers -1"),
        ("--workers=x", "--workers 'x': a whole number is needed"),
    ],
)
def test_numbers_that_cannot_be_meant(
    wrong: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(command("search.recover", tmp_path, wrong, capsys=capsys))


def test_training_on_the_only_talk_of_a_run_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several talks in dev, the run was scored on the first alone, and that would be trained on."""
    monkeypatch.setattr(recover, "resources", lambda *_: pytest.fail("Ray was started"))
    spec = manifest(tmp_path / "speech", talks=2, split="dev")
    settings = Config(bins=("Bin2",), lang="en-de", data=spec, segments=2, runs=str(tmp_path), name="run")
    folder = make_run(tmp_path / "run", [candidate("c1")], **asdict(settings))
    one = f"training on {spec} leaves nothing to score on: the run was scored on 2 segments of 1 talk of {spec} (dev)"
    told = refusal(recover.main, [str(folder), "--train", "dev", "--data", spec, "--held-out", "0.5"], capsys)
    assert one in told
    assert not (folder / "recovered").exists()


def test_places_that_cannot_be_written_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemBuild, "scorer", lambda _: (None, lambda: None))
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    train = manifest(tmp_path / "speech")  # without espeak-ng none could be spoken
    out = ["--lang", "en-de", "--train", train, "--out", str(tmp_path / "file" / "in")]
    assert "Not a directory" in refusal(published.main, ["diet", *out], capsys)

    def full(_: list[str]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert "No space left" in refusal(full, [], capsys)

    def defect(_: list[str]) -> None:
        raise OSError("a defect of ours")

    with pytest.raises(OSError, match="a defect"):
        run(defect, [])


def test_systems_are_for_speech_or_for_text() -> None:
    refuse_kind(SYSTEMS["wmt25"], text=True)
    refuse_kind(SYSTEMS["moslem-a"], text=False)
    with pytest.raises(UserError, match="trained on text"):
        refuse_kind(SYSTEMS["wmt25"], text=False)
    with pytest.raises(UserError, match="trained on speech"):
        refuse_kind(SYSTEMS["diet"], text=True)


@pytest.mark.parametrize("command", [recover, teach, published])
def test_help_is_there(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    assert "--" in capsys.readouterr().out
