"""Sensitivities: what was measured is kept, what was not is read off the error curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import DROP, LEVEL, TRIM
from search.sampling.sensitivity import CRASH_KL, chunks, fill_in, parse, plan, sensitivities
from tests.search.worlds import BITS, SCRIPTS, world


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=6, unique=True))
def test_filled_in_curve_goes_through_the_points_and_up(errors: list[float]) -> None:
    points = [(error, 3 * error) for error in sorted(errors)]
    asked = np.geomspace(1e-8, 10, 50)
    found = fill_in(points, asked)
    assert np.allclose(found, np.maximum(3 * asked, found.min()), rtol=0.2)
    assert (np.diff(found) >= -1e-12).all()


def test_no_error_no_damage() -> None:
    assert fill_in([(0.1, 2.0)], np.array([0.0]))[0] == 0.0


def test_two_levels_a_unit_and_every_drop_are_planned() -> None:
    w = world(layers=4)
    weights = {unit: round(w.space.sizes[row, 0] * 8) for row, unit in enumerate(w.space.units)}
    planned = plan(w.space, weights)
    levels = [t for t in planned if t[0] == LEVEL]
    assert {t[2] for t in levels} == {"grid@1", "grid@2"}
    assert len(levels) == 2 * len(w.space.units)
    assert [t[1] for t in planned if t[0] == DROP] == ["lm.1", "lm.2", "lm.3"]
    assert [t for piece in chunks(planned, 3) for t in piece] == planned


def test_table_holds_measured_values_and_crashes() -> None:
    w = world(layers=2)
    errors = {(unit, level): 4.0**-bits for unit in w.space.units for level, bits in BITS.items()}
    sensed = [
        (LEVEL, "lm.0.mlp", "grid@1", 0.8),
        (LEVEL, "lm.0.mlp", "grid@2", 0.2),
        (DROP, "lm.1", "", float("nan")),
    ]
    table = sensitivities(w.space, errors, sensed)
    row = w.space.unit_rows["lm.0.mlp"]
    assert np.allclose(table.levels[row, :4], [0.8, 0.2, 0.05, 0.0125])
    assert table.drops[1] == CRASH_KL


def test_a_smaller_vocabulary_is_a_treatment_too(tmp_path: Path) -> None:
    w = world(layers=2, trims=True)
    weights = {unit: round(w.space.sizes[row, 0] * 8) for row, unit in enumerate(w.space.units)}
    assert [t for t in plan(w.space, weights) if t[0] == TRIM] == [(TRIM, SCRIPTS, "")]
    assert not [t for t in plan(world(layers=2).space, weights) if t[0] == TRIM]
    path = tmp_path / "sensitivities.json"
    path.write_text(json.dumps([[TRIM, SCRIPTS, "", 0.03]]), encoding="utf-8")
    assert sensitivities(w.space, {}, parse(path)).trims.tolist() == [0.0, 0.03]
    assert sensitivities(w.space, {}, []).trims.tolist() == [0.0, CRASH_KL]
