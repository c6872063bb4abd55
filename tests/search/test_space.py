"""The space: policies, arrays and Optuna parameters are three forms of one thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import Refusal
from search.space import Choice, make_space
from tests.search.worlds import World, world


def some_choice(w: World, seed: int) -> Choice:
    generator = np.random.default_rng(seed)
    columns = generator.integers(len(w.space.levels), size=len(w.space.units))
    return Choice(columns, w.space.droppable & (generator.random(len(w.space.layers)) < 0.4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_choice_to_parameters_and_policy_and_back(seed: int) -> None:
    w = world(seed=1)
    choice = some_choice(w, seed)
    parameters = w.space.parameters(choice)
    again = w.space.from_parameters(parameters)
    assert np.array_equal(again.columns, choice.columns)
    assert np.array_equal(again.dropped, choice.dropped)
    assert set(parameters) == set(w.space.distributions)
    assert all(
        w.space.distributions[name]._contains(w.space.distributions[name].to_internal_repr(value))
        for name, value in parameters.items()
    )
    policy = w.space.policy(choice)
    back = w.space.choice(policy)
    assert back is not None
    present = w.space.present(choice)
    assert np.array_equal(back.columns[present], choice.columns[present])
    assert np.array_equal(back.dropped, choice.dropped)
    assert w.space.weigh(back) == w.space.weigh(choice)


def test_a_policy_of_other_levels_is_not_in_the_space() -> None:
    w = world()
    policy = w.space.policy(some_choice(w, 0))
    levels = {**policy.levels, next(iter(policy.levels)): "nf4"}
    assert w.space.choice(replace(policy, levels=levels)) is None


def test_a_dropped_layer_weighs_nothing() -> None:
    w = world()
    choice = Choice(np.zeros(len(w.space.units), dtype=int), np.zeros(len(w.space.layers), dtype=bool))
    dropped = choice.dropped.copy()
    dropped[2] = True
    gone = [row for row, layer in enumerate(w.space.layer_of) if layer == 2]
    less = sum(w.space.sizes[row, 0] for row in gone) + w.space.kept[2]
    assert w.space.weigh(choice) - w.space.weigh(Choice(choice.columns, dropped)) == less


def test_a_unit_that_no_level_fits_is_refused() -> None:
    with pytest.raises(Refusal, match="none of the levels nf4 fits unit conv"):
        make_space("0123456789abcdef", {"conv": None}, [], ["nf4"], {}, {}, {})
