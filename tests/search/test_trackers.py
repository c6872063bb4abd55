"""Trackers: one run, every candidate a step, none twice after a resume; one that fails ends itself and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from compress.errors import UserError
from search import trackers
from search.trackers import Trackers
from tests.search.tuning.runs import ask, finish, manager, scored, searcher


class Noted:
    """A tracker that notes what it is told."""

    def __init__(self, last_step: int = 0) -> None:
        self.last_step, self.steps, self.closed = last_step, list[tuple[int, dict[str, float]]](), False

    def log(self, step: int, values: dict[str, float]) -> None:
        self.steps.append((step, values))

    def close(self) -> None:
        self.closed = True


def run_of_three(tmp_path: Path, log: tuple[str, ...], said: list[str] | None = None) -> tuple[Any, Trackers]:
    trials = manager(tmp_path, trials=3, log=log)
    search = searcher(trials)
    followed = Trackers(trials.config, trials.recorder, (said if said is not None else []).append)
    followed.begin()
    trials.recorder.followers.append(followed.add)
    for trial, outcome in (("a", scored(0.5)), ("b", scored(0.4)), ("c", {"error": "boom"})):
        ask(search, trial)
        finish(search, trial, **outcome)
    return search, followed


def test_every_candidate_is_a_step_with_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setitem(trackers.KINDS, "wandb", lambda _: noted)
    search, followed = run_of_three(tmp_path, ("wandb",))
    followed.close()
    assert [step for step, _ in noted.steps] == [1, 2, 3]
    first, second, failed = (values for _, values in noted.steps)
    assert (first["comet"], round(second["comet"], 9)) == (0.5, 0.4)
    assert [values["best_comet/Bin2"] for values in (first, second, failed)] == [0.5, 0.5, 0.5]
    assert "comet" not in failed, "it has none"
    assert failed["candidates/failed"] == 1
    assert failed["candidates/scored"] == 2
    rows = search.manager.recorder.searched()
    assert [values["bytes"] for _, values in noted.steps] == [row.bytes for row in rows]
    assert all(math.isfinite(value) for _, values in noted.steps for value in values.values())
    assert noted.closed


def test_what_a_tracker_has_is_not_logged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, _ = run_of_three(tmp_path, ())
    later = Noted(last_step=2)
    monkeypatch.setitem(trackers.KINDS, "mlflow", lambda _: later)
    config = search.manager.config.__class__(**{**search.manager.config.__dict__, "log": ("mlflow",)})
    Trackers(config, search.manager.recorder, print).begin()
    assert [step for step, _ in later.steps] == [3]
    assert later.steps[0][1]["best_comet/Bin2"] == 0.5, "counted from the table"


def test_a_tracker_that_fails_ends_itself_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, said = Noted(), list[str]()

    def log(step: int, values: dict[str, float]) -> None:  # noqa: ARG001
        raise ConnectionError("the service is down\nand more")

    broken.log = log  # type: ignore[method-assign]
    monkeypatch.setitem(trackers.KINDS, "wandb", lambda _: broken)
    search, followed = run_of_three(tmp_path, ("wandb",), said)
    followed.close()
    assert said == ["wandb is not logged to any more (the service is down)"]
    assert len(search.manager.recorder.searched()) == 3
    assert not broken.closed


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every scalar in TensorBoard's files."""
    found = []
    for path in sorted(folder.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def test_tensorboard_reads_a_run_that_was_resumed_without_a_doubled_step(tmp_path: Path) -> None:
    search, followed = run_of_three(tmp_path, ("tensorboard",))
    followed.close()
    folder = search.manager.config.folder / "tensorboard"
    comets = [(step, value) for step, name, value in events(folder) if name == "comet"]
    assert comets == [(1, 0.5), (2, pytest.approx(0.4))]
    again = Trackers(search.manager.config, search.manager.recorder, print)
    again.begin()
    again.close()
    assert [(step, value) for step, name, value in events(folder) if name == "comet"] == comets
    names = {name for _, name, _ in events(folder)}
    assert {"bytes", "kl", "best_comet/Bin2", "candidates/failed"} < names


def test_names_are_checked_and_so_are_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers.parse("tensorboard, wandb,tensorboard") == ("tensorboard", "wandb")
    with pytest.raises(UserError, match="--log clearml: known are tensorboard, wandb, mlflow"):
        trackers.parse("clearml")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="--log wandb: wandb is not installed; `pip install -c"):
        trackers.check(("wandb",))


def test_the_setting_is_kept_and_may_change(tmp_path: Path) -> None:
    from search.command_line import parser, to_config
    from search.settings_file import to_toml

    arguments = ["--bin", "Bin2", "--lang", "en-zh", "--runs", str(tmp_path), "--name", "t"]
    config = to_config(parser().parse_args([*arguments, "--log", "tensorboard"]))
    assert config.log == ("tensorboard",)
    assert 'log = ["tensorboard"]' in to_toml(config)
    assert config.from_json(config.to_json()) == config
    config.check_same(to_config(parser().parse_args(arguments)))
    assert json.loads(config.to_json())["log"] == ["tensorboard"]
