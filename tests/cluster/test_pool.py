"""The pool with real Ray actors: jobs side by side, tried again, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.deadlines import Deadlines
from cluster.pool import ATTEMPTS, DIED, WorkerPool
from compress.errors import UserError

pytestmark = pytest.mark.engine


class Scripted:
    """A worker whose jobs say what happens."""

    def __init__(self, folder: str) -> None:
        if Path(folder, "broken").exists():
            raise RuntimeError("no room on this machine")
        self.folder = Path(folder)

    def ready(self) -> int:
        return os.getpid()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        with (self.folder / str(job["n"])).open("a") as note:
            note.write("x")
        tried = len((self.folder / str(job["n"])).read_text())
        if job.get("dies", 0) >= tried:
            os.kill(os.getpid(), 9)
        if job.get("stops", 0) >= tried:
            os.kill(os.getpid(), signal.SIGSTOP)
        if job.get("crashes", 0) >= tried:
            return {"error": "boom", "crashed": True}
        time.sleep(job.get("seconds", 0.0))
        return {"error": "refused"} if job.get("refused") else {"n": job["n"], "pid": os.getpid()}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def pool(folder: Path, count: int = 2, **options: Any) -> WorkerPool:
    actor = ray.remote(Scripted).options(**{"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, **options})
    return WorkerPool([actor.remote(str(folder)) for _ in range(count)])


def results(pool: WorkerPool, jobs: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {job["n"]: outcome for job, outcome in pool.map([{"kind": "test", **job} for job in jobs])}


def test_every_job_is_done_once_side_by_side(tmp_path: Path) -> None:
    workers = pool(tmp_path)
    outcomes = results(workers, [{"n": n, "seconds": 0.3} for n in range(6)])
    assert sorted(outcomes) == list(range(6))
    assert len({outcome["pid"] for outcome in outcomes.values()}) == 2
    assert all(outcome["attempts"] == 1 for outcome in outcomes.values())
    assert workers.running.total() == 0
    assert list(workers.map([])) == []


def test_a_stopped_worker_is_replaced_and_its_job_tried_once_more(tmp_path: Path) -> None:
    workers = pool(tmp_path)
    assert results(workers, [{"n": n} for n in (10, 11)]).keys() == {10, 11}, "both have started"
    workers.deadlines = Deadlines(times=10, least=2.0)
    workers.deadlines.ended("test", 0.1)
    outcomes = results(workers, [{"n": 0, "stops": 1}, {"n": 1}, {"n": 2}])
    assert (outcomes[0]["n"], outcomes[0]["attempts"]) == (0, 2)
    assert {outcomes[n]["attempts"] for n in (1, 2)} == {1}
    assert workers.stuck == 1


def test_a_wait_for_room_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.pool.STARTING", 0.5)
    actor = ray.remote(Scripted).options(num_cpus=0, num_gpus=2)
    other = actor.remote(str(tmp_path))
    assert ray.get(other.ready.remote(), timeout=60)
    workers = pool(tmp_path, 1, num_gpus=1.0)
    workers.needs = {"CPU": 0.0, "GPU": 1.0}
    workers._free.clear()
    workers._ask(0)
    told: list[str] = []

    def waited() -> None:
        told.append(workers.waiting())
        if len(told) == 30:
            ray.kill(other)

    workers.on_wait = waited
    assert results(workers, [{"n": 0}])[0]["n"] == 0
    assert told[20] == "waiting for 1 of 1 workers (1 GPUs each, 0 free)"
    assert told[-1] == ""


def test_a_job_whose_worker_died_is_tried_once_more(tmp_path: Path) -> None:
    workers = pool(tmp_path)
    outcomes = results(workers, [{"n": 0, "dies": 1}, {"n": 1, "dies": ATTEMPTS}, {"n": 2}, {"n": 3}])
    assert outcomes[0]["attempts"] == 2
    assert outcomes[0]["n"] == 0
    assert outcomes[1] == {"error": DIED, "attempts": ATTEMPTS}
    assert (tmp_path / "1").read_text() == "x" * ATTEMPTS
    assert outcomes[2]["n"] == 2
    assert results(workers, [{"n": n} for n in (4, 5, 6)]).keys() == {4, 5, 6}, "Ray has started them again"
    deadline = time.time() + 60
    while workers.alive < 2 and time.time() < deadline:
        time.sleep(0.1)
    assert workers.alive == 2


def test_a_crash_is_tried_once_more_and_what_is_refused_is_not(tmp_path: Path) -> None:
    outcomes = results(pool(tmp_path), [{"n": 0, "crashes": 1}, {"n": 1, "crashes": 5}, {"n": 2, "refused": True}])
    assert outcomes[0]["attempts"] == 2
    assert outcomes[1] == {"error": "boom", "crashed": True, "attempts": ATTEMPTS}
    assert outcomes[2] == {"error": "refused", "attempts": 1}
    assert (tmp_path / "2").read_text() == "x"


def test_workers_that_cannot_start_end_the_run_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(UserError, match=r"every worker died \(.*no room on this machine.*--resume"):
        results(pool(tmp_path, 1), [{"n": 0}])


def test_a_borrowed_worker_is_nobody_elses_until_it_is_given_back(tmp_path: Path) -> None:
    workers = pool(tmp_path)
    first, second = workers.borrow("test"), workers.borrow("test")
    assert {first, second} == {0, 1}
    assert workers.borrow("test") is None
    assert first is not None
    workers.give_back(first, died=True)
    deadline = time.time() + 60
    while (again := workers.borrow("test")) is None and time.time() < deadline:
        time.sleep(0.05)
    assert again == first, "it answered, so it lives"


@pytest.mark.parametrize("gpus_per_worker", [-1.0, 0.3])
def test_workers_and_scorers_start_together_on_every_gpu_there_is(tmp_path: Path, gpus_per_worker: float) -> None:
    """With a whole GPU for a worker and a tenth for the scorer, a search on one GPU would wait for ever."""
    from cluster.gpu_shares import share_out

    room = share_out(2, 2, 0, gpus_per_worker, 1)
    scorer = ray.remote(Scripted).options(num_cpus=0, num_gpus=room.scorer_gpus)
    scorers = [scorer.remote(str(tmp_path)) for _ in range(room.scorers)]
    workers = pool(tmp_path, room.workers, num_gpus=room.worker_gpus)
    there = ray.get([each.ready.remote() for each in (*scorers, *workers.actors)], timeout=120)
    assert len(set(there)) == room.scorers + room.workers
