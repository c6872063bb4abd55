"""How many workers there is room for, and what is refused."""

from __future__ import annotations

import pytest

from compress.errors import UserError
from search.config import Config
from search.launch import room


def config(**settings: float) -> Config:
    return Config(bins=("Bin2",), lang="en-zh", **{"gpus_per_worker": -1.0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, (2, 0.0)),
        ({"threads": 4}, 16, 0, (4, 0.0)),
        ({}, 64, 8, (8, 1.0)),
        ({"gpus_per_worker": 0.5}, 64, 8, (16, 0.5)),
        ({"gpus_per_worker": 2}, 64, 8, (4, 2.0)),
        ({"gpus_per_worker": 0, "workers": 3}, 64, 8, (3, 0.0)),
        ({"workers": 5}, 64, 8, (5, 1.0)),
    ],
)
def test_room(settings: dict[str, float], cpus: int, gpus: float, expected: tuple[int, float]) -> None:
    assert room(config(**settings), cpus, gpus) == expected


@pytest.mark.parametrize(
    ("settings", "gpus", "told"),
    [
        ({"gpus_per_worker": 1}, 0, "the cluster has 0 GPUs; give 0"),
        ({"workers": 9}, 8, "has room for 8"),
    ],
)
def test_no_room(settings: dict[str, float], gpus: float, told: str) -> None:
    with pytest.raises(UserError, match=told):
        room(config(**settings), 16, gpus)
