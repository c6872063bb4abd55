"""How a cluster is shared out: workers and scorers together never reserve more than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gpu_shares import SCORER_GPUS, Room, share_out
from compress.errors import UserError


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "gpus_per_worker", "threads", "expected"),
    [
        (2, 0, 0, -1, 1, Room(2, 0.0, 1, 0.0, 1)),
        (16, 0, 0, -1, 4, Room(4, 0.0, 1, 0.0, 4)),
        (64, 8, 0, -1, 1, Room(8, 0.9, 1, SCORER_GPUS)),
        (64, 1, 0, -1, 1, Room(1, 0.9, 1, SCORER_GPUS)),
        (64, 1, 0, 1, 1, Room(1, 0.9, 1, SCORER_GPUS)),
        (64, 8, 0, 0.5, 1, Room(16, 0.45, 2, SCORER_GPUS / 2)),
        (64, 8, 0, 2, 1, Room(4, 2.0, 1, 0.0)),
        (64, 8, 3, 2, 1, Room(3, 2.0, 1, SCORER_GPUS)),
        (64, 8, 3, 0, 1, Room(3, 0.0, 1, 0.0)),
        (64, 8, 5, -1, 1, Room(5, 0.9, 1, SCORER_GPUS)),
        (64, 8, 0, -1, 0, Room(8, 0.9, 1, SCORER_GPUS, 7)),
        (16, 1, 0, -1, 0, Room(1, 0.9, 1, SCORER_GPUS, 15)),
        (2, 0, 0, -1, 0, Room(2, 0.0, 1, 0.0, 1)),
        (2, 0, 1, -1, 0, Room(1, 0.0, 1, 0.0, 1)),
    ],
)
def test_who_gets_what(
    cpus: int, gpus: float, workers: int, gpus_per_worker: float, threads: int, expected: Room
) -> None:
    assert share_out(cpus, gpus, workers, gpus_per_worker, threads) == expected


def test_without_a_comet_on_the_gpu_workers_have_all_of_it() -> None:
    assert share_out(64, 2, 0, -1, 1, comet_on_gpu=False) == Room(2, 1.0, 1, 0.0)


@given(st.integers(1, 16), st.sampled_from([-1.0, 0.1, 0.125, 0.25, 0.3, 0.5, 1.0, 2.0, 4.0]), st.integers(0, 200))
def test_every_gpu_holds_what_is_put_on_it(gpus: int, gpus_per_worker: float, workers: int) -> None:
    try:
        room = share_out(1000, gpus, workers, gpus_per_worker, 1)
    except UserError:
        return
    assert room.workers >= 1
    assert room.scorers >= 1
    if room.worker_gpus > 1:
        left = gpus - room.workers * room.worker_gpus
        assert left >= (1 if room.scorer_gpus else 0)
        return
    # Placed one after the other on the first GPU that has room, as a scheduler may, all of them fit.
    free = [1.0] * gpus
    for amount in [room.scorer_gpus] * room.scorers + [room.worker_gpus] * room.workers:
        place = next(index for index, left in enumerate(free) if left + 1e-9 >= amount)
        free[place] -= amount


@pytest.mark.parametrize(
    ("gpus_per_worker", "workers", "gpus", "message"),
    [
        (1, 0, 0, "the cluster has 0 GPUs; give 0"),
        (-1, 9, 8, "has room for 8"),
        (0, 17, 8, r"\(16 CPUs\) has room for 16"),
    ],
)
def test_no_room(gpus_per_worker: float, workers: int, gpus: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        share_out(16, gpus, workers, gpus_per_worker, 1)
