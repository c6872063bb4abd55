"""Settings in a file: what a run writes gives its configuration back; flags override it; mistakes are one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compress.errors import UserError
from search.command_line import parser, to_config
from search.config import Config
from search.run_dir import RunDir
from search.settings_file import to_toml

RUNS = [
    ["--bin", "Bin2", "--lang", "en-zh"],
    [
        "--bin",
        "Bin1",
        "--bin",
        "Bin3",
        "--lang",
        "en-de",
        "--rungs",
        "kl,part,all",
        "--sampler",
        "random",
        "--rungs",
        "all",
    ],
    ["--max-bytes", "1GB", "--lang", "en-de", "--levels", "nf4,grid@2", "--no-drop", "--vocabulary", "full,scripts"],
    ["--bin", "all", "--lang", "en-de", "--no-trellis", "--freeze", r"lm\.1\..*", "--gpus-per-worker", "0.5"],
    ["--bin", "Bin2", "--lang", "en-zh", "--no-calibration", "--no-baselines", "--score-drops", "--groups", "layer"],
    [
        "--bin",
        "Bin2",
        "--lang",
        "en-zh",
        "--model",
        "/a b/模型",
        "--data",
        "acl6060:/d",
        "--comet",
        "x/y",
        "--segments",
        "7",
    ],
]


def config(*arguments: str) -> Config:
    return to_config(parser().parse_args([*arguments, "--name", "x"]))


@pytest.mark.parametrize("arguments", RUNS)
def test_what_a_run_writes_gives_its_configuration_back(tmp_path: Path, arguments: list[str]) -> None:
    made = config(*arguments)
    path = tmp_path / "run.toml"
    path.write_text(to_toml(made), encoding="utf-8")
    assert config(str(path)) == made


def test_a_run_holds_its_settings(tmp_path: Path) -> None:
    made = config("--bin", "Bin2", "--lang", "en-zh", "--runs", str(tmp_path))
    run_dir = RunDir(made, resume=False)
    assert config(str(run_dir.path / "run.toml"), "--runs", str(tmp_path)) == made
    run_dir.release()


def settings(folder: Path, text: str) -> str:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return str(folder / "run.toml")


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = settings(
        tmp_path, 'bin = ["Bin2", "Bin3"]\nlang = "en-zh"\ntrials = 7\nno_drop = true\nno-baselines = true\n'
    )
    made = config(path)
    assert (made.bins, made.trials, made.drop, made.baselines) == (("Bin2", "Bin3"), 7, False, False)
    changed = config(path, "--trials", "9", "--bin", "Bin1", "--baselines")
    assert (changed.bins, changed.trials, changed.drop, changed.baselines) == (("Bin1",), 9, False, True)
    assert config(path, "--max-bytes", "1MB").max_bytes == 1_000_000


def test_tables_group_keys_and_dashes_are_underscores(tmp_path: Path) -> None:
    path = settings(tmp_path, '[what]\nbin = "Bin2"\nlang = "en-de"\n[data]\nbatch_size = 4\nmax-new-tokens = 9\n')
    made = config(path)
    assert (made.bins, made.batch_size, made.max_new_tokens) == (("Bin2",), 4, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trails = 3", "there is no setting 'trails'; known are .*trials"),
        ("trials = ", "are not TOML"),
        ("trials = true", "trials is True: a text, a number"),
        ("baselines = 3", "baselines is 3: true or false"),
        ("bin = [3]", "bin is a list of other things"),
        ('trials = "many"', "--trials 'many': a whole number"),
        ("[a]\nseed = 1\n[b]\nseed = 2\n", "seed is given twice"),
        ("doctor = true", "there is no setting 'doctor'"),
        ("when = 2026-01-01", "there is no setting 'when'"),
        ("seed = 2026-01-01", "seed is datetime.date.*: a text, a number"),
        ('model = "a\\u0000b"', "model holds a NUL character"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(tmp_path, text)
    with pytest.raises((UserError, SystemExit)) as refused:
        config(path)
    said = capsys.readouterr().err.strip() or str(refused.value)
    assert "\n" not in said
    assert re.search(message, said), said


def test_a_file_that_is_not_there_and_one_with_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the settings .*nowhere\.toml: No such file"):
        config(str(tmp_path / "nowhere.toml"))
    with pytest.raises(UserError, match="--resume: a run that goes on has its settings already"):
        parser().parse_args([settings(tmp_path, "seed = 1"), "--resume", "x"])
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="are not TOML"):
        config(str(tmp_path / "binary.toml"))
