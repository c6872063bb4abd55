"""The phases of a run, and the time that is left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import phases
from search.phases import Phases
from search.workload import KL_SHARE, Workload

WORK = Workload(encodings=8, units=4, layers=2, sensitivities=10, recipes=3, drops=1, pruning=5, trials=20, full=6)


def test_a_run_has_the_phases_that_its_settings_ask_for() -> None:
    names = "prepare, original, calibrate, encode, sensitivities, baselines, iterative pruning, search, report"
    assert Phases(WORK, True, 1.0).names == tuple(names.split(", "))
    without = replace(WORK, recipes=0, drops=0, pruning=0)
    assert Phases(without, False, 1.0).names == ("prepare", "original", "encode", "sensitivities", "search", "report")


def test_nothing_is_said_of_the_time_before_it_can_be_known() -> None:
    run = Phases(WORK, True, 1.0)
    for name in (phases.PREPARE, phases.ORIGINAL, phases.CALIBRATE, phases.ENCODE):
        run.begin(name, 4)
        assert run.seconds_left(7.0, 1) is None
    run.job_ended()
    assert run.seconds_left(7.0, 1) is not None, "encoding has a pace now"
    assert run.seconds_left(None, 1) is None, "nobody knows yet what scoring takes"


@given(st.floats(0.1, 1000), st.integers(1, 64), st.floats(0.01, 1.0))
def test_the_time_left_is_that_of_all_phases_to_come(scoring: float, workers: int, share: float) -> None:
    run = Phases(WORK, True, share)
    run.begin(phases.SENSITIVITIES, 2)
    kl = KL_SHARE * share
    scores = 10 * kl + 3 + 1 + 5 + 6 + 20 * kl
    assert run.seconds_left(scoring, workers) == pytest.approx(scores * scoring / workers)
    run.begin(phases.SEARCH)
    assert run.seconds_left(scoring, workers, 12.5) == pytest.approx(12.5)
    run.begin(phases.REPORT)
    assert run.seconds_left(scoring, workers) == 0


def test_a_phase_under_way_goes_by_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    run = Phases(replace(WORK, trials=0, full=0, pruning=0), True, 1.0)
    run.begin(phases.BASELINES, 4)
    now = 130.0
    run.job_ended()
    assert run.seconds_left(1.0, 1) == pytest.approx(3 * 30)
    for _ in range(3):
        run.job_ended()
    assert run.seconds_left(1.0, 1) == 0
