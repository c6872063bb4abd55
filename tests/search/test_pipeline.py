"""The whole search on the embedded default, with real Ray, Tune, Optuna, COMET and bytes; killed, and resumed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import compress
import embedded
from results.candidate import Candidate
from results.rows.storage import Table

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parent.parent.parent
# Three levels and few segments: every phase runs, in seconds.
SMALL = ["--levels", "raw:bf16,grid@1,grid@2", "--segments", "6", "--no-baselines", "--max-new-tokens", "32"]


def command(runs: Path, *more: str) -> list[str]:
    base = [sys.executable, "-m", "search.run", "--bin", "Bin2", "--lang", "en-zh", "--runs", str(runs), "--name", "t"]
    return [*base, *SMALL, *more]


def run(runs: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(runs, *more), cwd=ROOT, capture_output=True, text=True, timeout=600)


def table(runs: Path) -> list[Candidate]:
    return Table(runs / "t" / "candidates.parquet").read()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    runs = tmp_path_factory.mktemp("runs")
    return runs, run(runs, "--trials", "5", "--score-drops")


@pytest.fixture
def encoded(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    """A folder for runs whose store holds what an earlier run encoded and measured."""
    shutil.copytree(finished[0] / ".store", tmp_path / ".store")
    return tmp_path


def test_it_ends_with_the_front_and_says_where_it_lies(finished: tuple[Path, Any]) -> None:
    runs, done = finished
    assert done.returncode == 0, done.stderr[-3000:]
    assert "The front in Bin2" in done.stdout
    assert str(runs / "t" / "pareto.csv") in done.stdout
    assert "dashboard http://127.0.0.1:" in done.stderr
    assert embedded.LABEL in done.stderr
    assert "Traceback" not in done.stderr


def test_every_candidate_lies_in_the_bin_and_is_scored(finished: tuple[Path, Any]) -> None:
    found = table(finished[0])
    searched = [c for c in found if c.recipe == "search"]
    assert sorted(c.candidate for c in searched) == [f"c{n:05d}" for n in range(1, 6)], (
        "two workers finish in any order"
    )
    assert all(c.bin == "Bin2" and c.status in ("scored", "stopped") and c.kl > 0 for c in searched)
    scored = [c for c in searched if c.status == "scored"]
    assert scored
    assert all(c.segments == 6 and c.rung == "all" for c in scored)
    assert all(c.segments == 0 and c.rung == "kl" for c in searched if c not in scored)
    assert len({c.policy for c in scored}) == len(scored)
    original = next(c for c in found if c.candidate == "original")
    assert original.comet > 0.8, "the embedded model translates"
    assert all(c.comet_low <= c.comet <= c.comet_high for c in found if c.segments)


def test_single_drops_are_scored_if_asked_for(finished: tuple[Path, Any]) -> None:
    found = {c.candidate: c for c in table(finished[0]) if c.recipe.startswith("drop:")}
    assert set(found) == {f"drop:audio.{n}" for n in range(1, 8)} | {f"drop:lm.{n}" for n in range(1, 12)}
    assert all(c.status == "scored" and c.layers_dropped == 1 and c.recipe == name for name, c in found.items())
    original = next(c for c in table(finished[0]) if c.candidate == "original")
    assert all(0 <= c.chrf <= 100 and c.bytes < original.bytes for c in found.values())
    assert min(c.chrf for c in found.values()) < original.chrf


def test_the_csv_is_the_front_and_its_policies_are_there(finished: tuple[Path, Any]) -> None:
    folder = finished[0] / "t"
    with (folder / "pareto.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    assert [int(row["bytes"]) for row in rows] == sorted(int(row["bytes"]) for row in rows)
    assert [float(row["comet"]) for row in rows] == sorted(float(row["comet"]) for row in rows)
    for row in rows:
        compress.Policy.from_json((folder / row["policy"]).read_text(encoding="utf-8"))
        assert "segments:6" in row["signature"]


def test_the_bytes_of_a_row_are_the_bytes_of_its_artifact(finished: tuple[Path, Any], tmp_path: Path) -> None:
    folder = finished[0] / "t"
    source = compress.Source.open(embedded.MODEL)
    store = compress.Store(finished[0] / ".store")
    for candidate in table(finished[0])[:4]:
        policy = compress.Policy.from_json((folder / candidate.policy).read_text(encoding="utf-8"))
        out = tmp_path / candidate.candidate
        compress.pack(source, policy, store, out)
        assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) == candidate.bytes


def test_the_vocabulary_is_chosen_weighed_to_the_byte_and_kept_on_resume(tmp_path: Path, capsys: Any) -> None:
    done = run(tmp_path, "--lang", "en-de", "--trials", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "vocabulary: full (1,024 tokens), scripts:en,de (677 tokens)" in done.stderr
    trimmed = [c for c in table(tmp_path) if c.vocabulary == "scripts:en,de"]
    assert trimmed, "it costs next to nothing and leaves bytes for the rest"
    source, store = compress.Source.open(embedded.MODEL), compress.Store(tmp_path / ".store")
    policy = compress.Policy.from_json((tmp_path / "t" / trimmed[0].policy).read_text(encoding="utf-8"))
    assert compress.pack(source, policy, store, tmp_path / "artifact") == trimmed[0].bytes
    layers = sum(source.structure.layer(name).parameters for name in policy.dropped)
    assert trimmed[0].parameters == source.structure.parameters - layers - 2 * 96 * (1024 - 677)
    measured = json.loads((tmp_path / "t" / "sensitivities.json").read_text(encoding="utf-8"))
    (alone,) = (kl for kind, name, _, kl in measured if (kind, name) == ("trim", "scripts:en,de"))
    assert 0 <= alone < 0.01
    again = run(tmp_path, "--lang", "en-de", "--trials", "3", "--resume")
    assert again.returncode == 0, again.stderr[-3000:]
    assert len([c for c in table(tmp_path) if c.recipe == "search"]) == 3
    from search.run import main

    assert main([*command(tmp_path)[3:], "--lang", "en-de", "--resume", "--vocabulary", "full"]) == 2
    assert "vocabulary was ('full', 'scripts:en,de'), now ('full',)" in capsys.readouterr().err


def test_the_study_opens_in_optuna(finished: tuple[Path, Any]) -> None:
    storage = JournalStorage(JournalFileBackend(str(finished[0] / "t" / "study.journal")))
    study = optuna.load_study(storage=storage, study_name="t")
    assert len(study.trials) == 5
    assert study.metric_names == ["comet", "bytes"]


def test_report_and_pictures_are_there(finished: tuple[Path, Any]) -> None:
    for name in ("report.html", "pareto.png", "pareto.svg", "config.json", "sensitivities.json"):
        assert (finished[0] / "t" / name).stat().st_size > 100


def test_a_finished_run_resumed_has_nothing_to_do_or_goes_on(finished: tuple[Path, Any]) -> None:
    runs, _ = finished
    before = table(runs)
    again = [sys.executable, "-m", "search.run", "--resume", "t", "--runs", str(runs), "--trials", "7"]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    after = table(runs)
    assert [*map(repr, after)][: len(before)] == [*map(repr, before)], "what was scored stays as it was"
    assert sorted(c.candidate for c in after[len(before) :]) == ["c00006", "c00007"]
    scored = [c.policy for c in after if c.recipe == "search" and c.status == "scored"]
    assert len(set(scored)) == len(scored), "nothing is scored twice"


def test_killed_without_warning_and_resumed(encoded: Path) -> None:
    tmp_path = encoded
    process = subprocess.Popen(
        command(tmp_path, "--trials", "60"), cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    folder = tmp_path / "t" / "candidates.parquet"
    deadline = time.time() + 400
    while time.time() < deadline and len(list(folder.glob("part-*.parquet"))) < 4:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    scored = [c.candidate for c in table(tmp_path)]
    assert len(scored) >= 4
    wanted = len(scored) + 1  # the original is one of them: two more candidates
    done = run(tmp_path, "--trials", str(wanted), "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    after = [c.candidate for c in table(tmp_path)]
    assert after[: len(scored)] == scored
    assert len(after) == len(set(after)) == wanted + 1


def test_a_killed_worker_costs_nothing(encoded: Path) -> None:
    import psutil

    tmp_path = encoded

    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(command(tmp_path, "--trials", "8"), cwd=ROOT, stdout=log, stderr=log)
    folder = tmp_path / "t" / "candidates.parquet"
    deadline = time.time() + 500
    killed = False
    while time.time() < deadline and process.poll() is None:
        if not killed and len(list(folder.glob("part-*.parquet"))) >= 2:
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if child.name().startswith("ray::") and "WorkerActor" in " ".join(child.cmdline()):
                        child.kill()
                        killed = True
                        break
        time.sleep(0.05)
    told = (tmp_path / "log").read_text(encoding="utf-8")
    assert process.returncode == 0, told[-3000:]
    assert killed, told[-3000:]
    searched = [c for c in table(tmp_path) if c.recipe == "search"]
    assert len(searched) == 8
    assert all(c.status in ("scored", "stopped") for c in searched), [c.error for c in searched]
    assert any(c.attempts == 2 for c in searched), "one was in flight, and was tried again"
    assert "Traceback" not in told


def test_interrupted_it_says_how_to_go_on(encoded: Path) -> None:
    tmp_path = encoded
    process = subprocess.Popen(
        command(tmp_path, "--trials", "60"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "t" / "candidates.parquet"
    deadline = time.time() + 400
    while time.time() < deadline and len(list(folder.glob("part-*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err[-2000:]
    assert f"To go on: python -m search.run --resume t --runs {tmp_path}\n" in out
    assert "Traceback" not in err
    assert len(table(tmp_path)) >= 3
    assert (tmp_path / "t" / "pareto.csv").exists()


def test_a_bin_out_of_reach_is_one_line_before_anything_starts(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import session
    from search.run import main

    monkeypatch.setattr(session, "connect", lambda *_: pytest.fail("Ray was started"))
    assert main([*command(tmp_path)[3:], "--bin", "Bin5"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("error: Bin5 (0 to ")
    assert "cannot be reached: policies of this model and these levels have about " in told[0]
    assert not list(tmp_path.iterdir())


def test_an_address_where_nothing_is(tmp_path: Path, capsys: Any) -> None:
    from search.run import main

    assert main([*command(tmp_path)[3:], "--address", "127.0.0.1:1"]) == 2
    assert "no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model", "/not/there", "--data", "embedded"], "model '/not/there' is not there"),
        (["--comet", "/not/there.ckpt"], "COMET: /not/there.ckpt is neither"),
        (["--levels", "magic@2"], "unknown level 'magic@2'"),
        (["--data", "manifest:/not/there.csv"], "/not/there.csv is missing"),
        (["--name", "../x"], "run name '../x'"),
        (["--sensitivities", "/not/there.json"], "/not/there.json is missing; give quick, full, or the file"),
        (["--sensitivities", "medium"], "--sensitivities medium: give quick, full, or the sensitivities.json"),
        (["--gpus-per-worker", "nan"], "--gpus-per-worker nan"),
    ],
)
def test_mistakes_that_show_before_ray(tmp_path: Path, more: list[str], told: str, capsys: Any) -> None:
    from search.run import main

    assert main([*command(tmp_path)[3:], *more]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--gpus-per-worker", "1"], "--gpus-per-worker 1: this machine has 0 GPUs"),
        (["--address", "ray://x:1"], "--address ray://x:1: Ray's client cannot run a search"),
        (["--address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_anything_is_read(
    tmp_path: Path, more: list[str], told: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search import inputs
    from search.run import main

    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(inputs, "check_comet", lambda _: pytest.fail("COMET was looked for"))
    assert main([*command(tmp_path)[3:], *more]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_defect_leaves_no_empty_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from search import pipeline
    from search.run import main

    def broken(*_: Any) -> bool:
        raise ValueError("a defect of ours")

    monkeypatch.setattr(pipeline, "execute", broken)
    with pytest.raises(ValueError, match="a defect"):
        main(command(tmp_path)[3:])
    assert not (tmp_path / "t").exists()


def test_sensitivities_are_kept(finished: tuple[Path, Any]) -> None:
    kept = json.loads((finished[0] / "t" / "sensitivities.json").read_text(encoding="utf-8"))
    kinds = {entry[0] for entry in kept}
    assert kinds == {"level", "drop"}
    assert all(entry[3] >= 0 for entry in kept)
