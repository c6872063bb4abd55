"""Trackers: one run, every candidate a step, none twice after a resume; one that fails ends itself and nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from compress.errors import UserError
from results.candidate import PRUNED
from search import trackers
from search.trackers import Trackers
from tests.search.tuning.runs import ask, finish, manager, scored, searcher


class Noted:
    """A tracker that notes what it is told."""

    def __init__(self, last_step: int = 0) -> None:
        self.last_step, self.steps, self.closed = last_step, list[tuple[int, dict[str, float]]](), False

    def log(self, step: int, values: dict[str, float], when: float) -> None:
        assert when > 1e9, "seconds since 1970"
        self.steps.append((step, values))

    def close(self) -> None:
        self.closed = True


def run_of_three(
    tmp_path: Path, log: tuple[str, ...], messages: list[str] | None = None, later: int = 0
) -> tuple[Any, Trackers]:
    """Three candidates; so many are left for `resume`."""
    trials = manager(tmp_path, trials=3 + later, log=log)
    search = searcher(trials)
    followed = Trackers(trials.config, trials.recorder, (messages if messages is not None else []).append)
    followed.begin()
    trials.recorder.followers.append(followed.add)
    for trial, outcome in (("a", scored(0.5)), ("b", scored(0.4)), ("c", {"error": "boom"})):
        ask(search, trial)
        finish(search, trial, **outcome)
    return search, followed


def test_every_candidate_is_a_step_with_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setitem(trackers.KINDS, "wandb", lambda *_: noted)
    search, followed = run_of_three(tmp_path, ("wandb",))
    followed.close()
    assert [step for step, _ in noted.steps] == [1, 2, 3]
    first, second, failed = (values for _, values in noted.steps)
    assert (first["comet"], round(second["comet"], 9)) == (0.5, 0.4)
    assert [values["best_comet/Bin2"] for values in (first, second, failed)] == [0.5, 0.5, 0.5]
    assert "comet" not in failed, "it has none"
    assert failed["candidates/failed"] == 1
    assert [values["pruned"] for values in (first, second, failed)] == [0, 0, 0]
    assert failed["candidates/scored"] == 2
    rows = search.manager.recorder.searched()
    assert [values["bytes"] for _, values in noted.steps] == [row.bytes for row in rows]
    assert all(math.isfinite(value) for _, values in noted.steps for value in values.values())
    assert noted.closed


def test_a_pruned_candidate_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setitem(trackers.KINDS, "wandb", lambda *_: noted)
    search, followed = run_of_three(tmp_path, ("wandb",))
    followed.add(replace(search.manager.recorder.searched()[1], status=PRUNED, order=4, comet=0.9))
    step, values = noted.steps[-1]
    assert (step, values["pruned"], values["candidates/pruned"]) == (4, 1, 1)
    assert "comet" not in values, "that of a part of the segments"
    assert values["best_comet/Bin2"] == 0.5


def test_what_a_tracker_has_is_not_logged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, _ = run_of_three(tmp_path, ())
    later = Noted(last_step=2)
    monkeypatch.setitem(trackers.KINDS, "mlflow", lambda *_: later)
    config = search.manager.config.__class__(**{**search.manager.config.__dict__, "log": ("mlflow",)})
    Trackers(config, search.manager.recorder, print).begin()
    assert [step for step, _ in later.steps] == [3]
    assert later.steps[0][1]["best_comet/Bin2"] == 0.5, "counted from the table"


def test_a_tracker_that_fails_ends_itself_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, messages = Noted(), list[str]()

    def log(step: int, values: dict[str, float], when: float) -> None:  # noqa: ARG001
        raise ConnectionError("the service is down\nand more")

    broken.log = log  # type: ignore[method-assign]
    monkeypatch.setitem(trackers.KINDS, "wandb", lambda *_: broken)
    search, followed = run_of_three(tmp_path, ("wandb",), messages)
    followed.close()
    assert messages == ["wandb is not logged to any more (the service is down)"]
    assert len(search.manager.recorder.searched()) == 3
    assert not broken.closed


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every scalar in TensorBoard's files."""
    scalars = []
    for path in sorted(folder.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            scalars += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return scalars


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


def steps_of_wandb(folder: Path) -> list[tuple[str, int]]:
    """(identity, step) of everything that lies in the offline sessions below a folder."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    steps = []
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        store = DataStore()
        store.open_for_scan(str(path))
        while (content := store.scan_data()) is not None:
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                steps.append((path.stem.removeprefix("run-"), record.history.step.num))
    return steps


def resume(search: Any, trial: str, outcome: dict[str, Any], say: Any) -> None:
    """Another session of the run, with one candidate more."""
    recorder = search.manager.recorder
    again = Trackers(search.manager.config, recorder, say)
    again.begin()
    recorder.followers[:] = [again.add]
    ask(search, trial)
    finish(search, trial, **outcome)
    again.close()


def test_wandb_offline_has_every_step_once_however_often_a_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="an extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    problems: list[str] = []
    search, followed = run_of_three(tmp_path, ("wandb",), problems, later=2)
    followed.close()
    resume(search, "d", scored(0.6), problems.append)
    resume(search, "e", scored(0.6), problems.append)
    assert problems == []
    folder = search.manager.config.folder
    identity = trackers.identity_of(folder)
    assert steps_of_wandb(folder / "wandb") == [(identity, step) for step in (1, 2, 3, 4, 5)]


def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="an extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    problems: list[str] = []
    search, followed = run_of_three(tmp_path / "first", ("mlflow",), problems, later=1)
    followed.close()
    resume(search, "d", scored(0.6), problems.append)
    other, followed = run_of_three(tmp_path / "second", ("mlflow",), problems)
    followed.close()
    assert problems == []
    client = mlflow.MlflowClient()
    number = client.get_experiment_by_name(trackers.PROJECT).experiment_id
    runs = {run.data.tags[trackers.MLflow.TAG]: run for run in client.search_runs([number])}
    assert set(runs) == {trackers.identity_of(each.manager.config.folder) for each in (search, other)}
    run = runs[trackers.identity_of(search.manager.config.folder)]
    assert (run.info.run_name, run.info.status) == ("t", "FINISHED")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "bytes")] == [1, 2, 3, 4]
    comets = client.get_metric_history(run.info.run_id, "comet")
    assert [(point.step, round(point.value, 9)) for point in comets] == [(1, 0.5), (2, 0.4), (4, 0.6)]
    assert all(point.timestamp > 1e12 for point in comets), "milliseconds since 1970"


def test_a_run_is_known_by_an_identity_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = trackers.identity_of(tmp_path / "a")
    assert trackers.identity_of(tmp_path / "a") == first
    assert trackers.identity_of(tmp_path / "b") != first
    (tmp_path / "b" / trackers.IDENTITY).write_text('{"id": "../../elsewhere"}')
    (tmp_path / "b" / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"tracker.json is damaged: remove it"):
        trackers.identity_of(tmp_path / "b")


def test_what_lies_behind_a_link_is_not_removed(tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere" / "offline-run-1-abc"
    kept.mkdir(parents=True)
    (tmp_path / "wandb").symlink_to(tmp_path / "elsewhere")
    trackers._remove_earlier(tmp_path / "wandb", tmp_path / "x", "abc")
    assert kept.exists()
    trackers._remove_earlier(tmp_path / "elsewhere", tmp_path / "x", "other")
    assert kept.exists(), "another run's"
    trackers._remove_earlier(tmp_path / "elsewhere", tmp_path / "x", "abc")
    assert not kept.exists()


def test_names_are_checked_and_so_are_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers.parse("tensorboard, wandb,tensorboard") == ("tensorboard", "wandb")
    with pytest.raises(UserError, match="--log clearml: known are tensorboard, wandb, mlflow"):
        trackers.parse("clearml")
    with pytest.raises(UserError, match="--log clearml: known are"):
        trackers.check(("clearml",))  # as a run's file may have it
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
