"""Sensitivities: measurements are cached, the rest is interpolated over the weight error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import DROP, LEVEL, TRIM
from compress import Store
from search.sampling.sensitivity import (
    CRASH_KL,
    QUICK,
    SensitivityCache,
    actions_to_measure,
    interpolate_kl,
    read_sensitivities,
    sensitivity_table,
    split_actions,
)
from search.space.groups import tie
from tests.search.worlds import BITS, SCRIPTS, world


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=6, unique=True))
def test_filled_in_curve_goes_through_the_points_and_up(errors: list[float]) -> None:
    points = [(error, 3 * error) for error in sorted(errors)]
    queries = np.geomspace(1e-8, 10, 50)
    kls = interpolate_kl(points, queries)
    assert np.allclose(kls, np.maximum(3 * queries, kls.min()), rtol=0.2)
    assert (np.diff(kls) >= -1e-12).all()


def test_no_error_no_damage() -> None:
    assert interpolate_kl([(0.1, 2.0)], np.array([0.0]))[0] == 0.0


def test_two_levels_a_unit_and_every_drop_are_planned() -> None:
    w = world(layers=4)
    weights = {unit: round(w.space.sizes[row, 0] * 8) for row, unit in enumerate(w.space.units)}
    planned = actions_to_measure(w.space, weights)
    levels = [t for t in planned if t[0] == LEVEL]
    assert {t[2] for t in levels} == {"grid@1", "grid@2"}
    assert len(levels) == 2 * len(w.space.units)
    assert [t[1] for t in planned if t[0] == DROP] == ["lm.1", "lm.2", "lm.3"]
    assert [t for piece in split_actions(planned, 3) for t in piece] == planned


def test_tied_units_are_measured_together() -> None:
    w = world(layers=4)
    weights = {unit: round(w.space.sizes[row, 0] * 8) for row, unit in enumerate(w.space.units)}
    tied = tie(w.space, "2")
    planned = actions_to_measure(tied, weights)
    assert len(planned) == 2 * (4 + 2) + 1, "two levels of two groups' attention and MLP, embedding, head; one drop"
    assert (LEVEL, "lm.0.attention+lm.1.attention", "grid@1") in planned
    assert (DROP, "lm.2+lm.3", "") in planned
    errors = {(unit, level): 4.0**-bits for unit in w.space.units for level, bits in BITS.items()}
    table = sensitivity_table(tied, errors, [(LEVEL, "lm.0.mlp+lm.1.mlp", "grid@1", 0.8), (DROP, "lm.2+lm.3", "", 2.5)])
    assert table.levels[tied.unit_rows["lm.0-1.mlp"], :2] == pytest.approx([0.8, 0.2])
    assert table.drops[1] == 2.5


def test_table_holds_measured_values_and_crashes() -> None:
    w = world(layers=2)
    errors = {(unit, level): 4.0**-bits for unit in w.space.units for level, bits in BITS.items()}
    entries = [
        (LEVEL, "lm.0.mlp", "grid@1", 0.8),
        (LEVEL, "lm.0.mlp", "grid@2", 0.2),
        (DROP, "lm.1", "", float("nan")),
    ]
    table = sensitivity_table(w.space, errors, entries)
    row = w.space.unit_rows["lm.0.mlp"]
    assert np.allclose(table.levels[row, :4], [0.8, 0.2, 0.05, 0.0125])
    assert table.drops[1] == CRASH_KL


def test_a_smaller_vocabulary_is_an_action_too(tmp_path: Path) -> None:
    w = world(layers=2, trims=True)
    weights = {unit: round(w.space.sizes[row, 0] * 8) for row, unit in enumerate(w.space.units)}
    assert [t for t in actions_to_measure(w.space, weights) if t[0] == TRIM] == [(TRIM, SCRIPTS, "")]
    assert not [t for t in actions_to_measure(world(layers=2).space, weights) if t[0] == TRIM]
    path = tmp_path / "sensitivities.json"
    path.write_text(json.dumps([[TRIM, SCRIPTS, "", 0.03]]), encoding="utf-8")
    assert sensitivity_table(w.space, {}, read_sensitivities(path)).trims.tolist() == [0.0, 0.03]
    assert sensitivity_table(w.space, {}, []).trims.tolist() == [0.0, CRASH_KL]


def test_the_cache_merges_store_run_folder_and_a_named_file(tmp_path: Path) -> None:
    store, named = Store(tmp_path / "store"), tmp_path / "named.json"
    named.write_text(json.dumps([[DROP, "lm.2", "", 0.3]]), encoding="utf-8")
    first = SensitivityCache(store, "0" * 40, tmp_path / "first.json")
    assert first.read(QUICK) == []
    first.write([(DROP, "lm.1", "", 0.5)])
    second = SensitivityCache(store, "0" * 40, tmp_path / "second.json")
    second.write([(DROP, "lm.1", "", 0.6), (LEVEL, "head", "nf4", 0.1)])
    assert second.read(QUICK) == [[DROP, "lm.1", "", 0.6], [LEVEL, "head", "nf4", 0.1]]
    assert second.read(str(named)) == [*second.read(QUICK), [DROP, "lm.2", "", 0.3]]
    assert read_sensitivities(tmp_path / "second.json") == second.read(QUICK)
