"""How encoding is cut into jobs: everything once, sizes alike, the levels of a unit together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from search.encoding import JOBS_A_WORKER, encoding_jobs

LEVELS = ("grid@2", "grid@3", "nf4")


def structure(weights: list[int]) -> Any:
    kinds = {0: "embedding", 1: "head"}
    units = {f"u{i}": SimpleNamespace(weights=w, kind=kinds.get(i, "mlp")) for i, w in enumerate(weights)}
    return SimpleNamespace(units=units, unit=units.__getitem__)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(1, 9))
def test_everything_is_encoded_once_in_jobs_of_like_size(weights: list[int], workers: int) -> None:
    model = structure(weights)
    pairs = [(unit, level) for unit in model.units for level in LEVELS]
    jobs = encoding_jobs(model, pairs, "", ["full"], workers)
    actions = [tuple(action) for job in jobs for action in job["actions"]]
    assert sorted(actions) == sorted(pairs)
    most = sum(model.unit(unit).weights for unit, _ in pairs) / (JOBS_A_WORKER * workers)
    for job in jobs:
        size = sum(model.unit(unit).weights for unit, _ in job["actions"])
        assert size <= most or len({unit for unit, _ in job["actions"]}) == 1
        assert size <= max(most, max(weights))


def test_only_a_unit_that_holds_up_the_others_is_split() -> None:
    model = structure([900, *[10] * 40])
    pairs = [(unit, level) for unit in model.units for level in LEVELS]
    jobs = encoding_jobs(model, pairs, "", ["full"], 2)
    of_unit = [{unit for unit, _ in job["actions"]} for job in jobs]
    assert sum("u0" in units for units in of_unit) == 3
    assert all(sum(name in units for units in of_unit) == 1 for name in model.units if name != "u0")


def test_under_a_smaller_vocabulary_only_rows_of_tokens_are_encoded_again() -> None:
    model = structure([900, 800, 10, 10])
    pairs = [(unit, level) for unit in model.units for level in LEVELS]
    jobs = encoding_jobs(model, pairs, "digest", ["full", "scripts:en,de"], 2)
    again = [job for job in jobs if job["vocabulary"] == "scripts:en,de"]
    assert sorted(action for job in again for action in job["actions"]) == [
        [unit, level] for unit in ("u0", "u1") for level in LEVELS
    ]
