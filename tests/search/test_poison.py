"""Candidates that kill or stop their workers, one whose outputs are not numbers, a disk that runs full: for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.candidate import Candidate
from results.rows.storage import Table
from tests.needs import mount_small_disk, unmount

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "--levels",
    "raw:bf16,grid@1,grid@2",
    "--trellis",
    "--segments",
    "6",
    "--no-baselines",
    "--max-new-tokens",
    "32",
]
POISONED = '''
"""search.run with a worker that dies whenever it is given c00002, whose model is NaN for c00003, and that stops, the
first time, at c00005: once that has happened, a job may take 15 seconds."""
import os
import signal
import sys

import cluster.deadlines
import cluster.pool
from cluster.worker import Worker
from search.run import main

DEATHS = sys.argv.pop(1)
STOPPED = DEATHS + "-stopped"


class Deadlines(cluster.deadlines.Deadlines):
    def seconds(self, kind):
        return 15.0 if os.path.exists(STOPPED) else 3600.0


class PoisonedWorker(Worker):
    def run(self, job):
        name = job.get("name")
        if name == "c00002":
            with open(DEATHS, "a") as stream:
                stream.write(f"{os.getpid()}\\n")
            os.kill(os.getpid(), 9)
        if name == "c00005" and not os.path.exists(STOPPED):
            open(STOPPED, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)
        if name != "c00003":
            yield from super().run(job)
            return
        self.reference_logits(job["reference"])  # what the original says is not poisoned
        module = next(m for m in self.resident.model.modules() if type(m).__name__.endswith("RMSNorm"))
        sane = module.forward
        module.forward = lambda states: sane(states) * float("nan")
        try:
            yield from super().run(job)
        finally:
            module.forward = sane


class PoisonedActor(cluster.pool.WorkerActor):
    worker_class = PoisonedWorker


cluster.pool.WorkerActor = PoisonedActor
cluster.pool.Deadlines = Deadlines
sys.exit(main(sys.argv[1:]))
'''


def arguments(runs: Path, *more: str) -> list[str]:
    return ["--bin", "Bin2", "--lang", "en-zh", "--runs", str(runs), "--name", "t", *SMALL, *more]


def table(runs: Path) -> dict[str, Candidate]:
    return {c.candidate: c for c in Table(runs / "t" / "candidates.parquet").read() if c.recipe == "search"}


def test_poison_is_tried_twice_then_failed_and_never_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "poisoned.py").write_text(POISONED, encoding="utf-8")
    deaths = tmp_path / "deaths"

    def run(*more: str) -> None:
        command = [sys.executable, str(tmp_path / "poisoned.py"), str(deaths), *arguments(tmp_path, *more)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr

    run("--trials", "5")
    found = table(tmp_path)
    assert sorted(found) == [f"c{n:05d}" for n in range(1, 6)]
    poison, unsound = found["c00002"], found["c00003"]
    assert (poison.status, poison.attempts, poison.error) == ("failed", 2, "the worker died")
    assert len(set(deaths.read_text().split())) == 2, "it took two workers with it"
    assert unsound.status == "failed", (unsound.status, unsound.kl, unsound.comet)
    assert "not numbers" in unsound.error
    assert found["c00005"].attempts == 2, "its first worker was stopped, and replaced"
    others = [found[name] for name in ("c00001", "c00004", "c00005")]
    assert all(c.status in ("scored", "stopped") for c in others), [c.error for c in others]

    run("--trials", "7", "--resume")
    after = table(tmp_path)
    assert len(deaths.read_text().split()) == 2
    assert len(after) == 7
    assert {after[n].policy for n in ("c00002", "c00003")}.isdisjoint(
        c.policy for name, c in after.items() if name not in ("c00002", "c00003")
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB for the run, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_small_disk(disk, "2m")
    yield disk
    unmount(disk)


def test_a_full_disk_is_one_line_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        store = ["--store", str(tmp_path / "store")]
        command = [sys.executable, "-m", "search.run", *arguments(small_disk, *store, *more)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)

    filled = small_disk / "someone-else"
    done = run("--trials", "3")
    assert done.returncode == 0, done.stderr[-3000:]
    before = table(small_disk)
    with filled.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            pass
    done = run("--trials", "6", "--resume")
    assert done.returncode == 2, done.stderr[-3000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), last
    assert "no space left" in last
    assert "Traceback" not in done.stderr
    assert {name: repr(c) for name, c in table(small_disk).items()} == {n: repr(c) for n, c in before.items()}
    filled.unlink()
    done = run("--trials", "6", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(table(small_disk)) == 6
