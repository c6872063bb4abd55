"""The space: policies, arrays and Optuna parameters are three forms of one thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from compress.errors import UserError
from search.sampling.base import distributions
from search.space.space import Choice, Space, make_space, with_vocabularies
from tests.search.worlds import BITS, SCRIPTS, TRIM_FILES, some_choice, world


def choices_of(space: Space) -> dict[str, tuple[object, ...]]:
    """Parameter → the values that Optuna chooses from."""
    named = distributions(space)
    assert all(isinstance(each, CategoricalDistribution) for each in named.values())
    return {name: tuple(each.choices) for name, each in named.items() if isinstance(each, CategoricalDistribution)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_choice_to_parameters_and_policy_and_back(seed: int, trims: bool) -> None:
    w = world(seed=1, trims=trims)
    choice = some_choice(w, seed)
    parameters = w.space.parameters(choice)
    again = w.space.from_parameters(parameters)
    assert np.array_equal(again.columns, choice.columns)
    assert np.array_equal(again.dropped, choice.dropped)
    assert again.vocabulary == choice.vocabulary
    allowed = choices_of(w.space)
    assert set(parameters) == set(allowed)
    assert all(value in allowed[name] for name, value in parameters.items())
    policy = w.space.policy(choice)
    back = w.space.choice(policy)
    assert back is not None
    present = w.space.present(choice)
    assert np.array_equal(back.columns[present], choice.columns[present])
    assert np.array_equal(back.dropped, choice.dropped)
    assert back.vocabulary == choice.vocabulary
    assert w.space.key(back) == w.space.key(choice)
    assert w.space.variable_bytes(back) == w.space.variable_bytes(choice)


def test_a_policy_of_other_levels_is_not_in_the_space() -> None:
    w = world()
    policy = w.space.policy(some_choice(w, 0))
    levels = {**policy.levels, next(iter(policy.levels)): "nf4"}
    assert w.space.choice(replace(policy, levels=levels)) is None


def test_a_dropped_layer_has_no_bytes() -> None:
    w = world()
    choice = Choice(np.zeros(len(w.space.units), dtype=int), np.zeros(len(w.space.layers), dtype=bool))
    dropped = choice.dropped.copy()
    dropped[2] = True
    dropped_rows = [row for row, layer in enumerate(w.space.layer_of) if layer == 2]
    less = sum(w.space.sizes[row, 0] for row in dropped_rows) + w.space.unquantized[2]
    assert w.space.variable_bytes(choice) - w.space.variable_bytes(Choice(choice.columns, dropped)) == less


def test_a_unit_that_no_level_fits_is_refused() -> None:
    with pytest.raises(UserError, match="none of the levels nf4 fits unit conv"):
        make_space("0123456789abcdef", {"conv": None}, [], ["nf4"], {}, {}, {})


def test_without_a_choice_of_vocabularies_there_is_no_such_parameter() -> None:
    w = world()
    assert "vocabulary" not in choices_of(w.space)
    assert "vocabulary" not in w.space.parameters(some_choice(w, 1))
    policy = w.space.policy(some_choice(w, 1))
    assert policy.vocabulary == "full"
    assert w.space.choice(replace(policy, vocabulary=SCRIPTS)) is None


def test_a_smaller_vocabulary_has_fewer_bytes_in_embedding_head_and_files() -> None:
    w = world(trims=True)
    assert choices_of(w.space)["vocabulary"] == ("full", SCRIPTS)
    choice = replace(some_choice(w, 5), vocabulary=0)
    smaller = replace(choice, vocabulary=1)
    rows = [w.space.unit_rows["embedding"], w.space.unit_rows["head"]]
    less = sum(
        w.space.sizes_under(0)[row, choice.columns[row]] - w.space.sizes_under(1)[row, choice.columns[row]]
        for row in rows
    )
    assert w.space.variable_bytes(smaller) - w.space.variable_bytes(choice) == TRIM_FILES - less
    assert w.space.key(smaller) != w.space.key(choice)
    assert w.space.policy(smaller).vocabulary == SCRIPTS
    other_rows = [row for row in range(len(w.space.units)) if row not in rows]
    assert np.array_equal(w.space.sizes_under(0)[other_rows], w.space.sizes_under(1)[other_rows])


def test_a_level_fits_where_it_fits_under_every_vocabulary() -> None:
    w = world()
    sizes = {("head", level): 10.0 if level != "grid@1" else np.inf for level in BITS}
    space = with_vocabularies(w.space, ("full", SCRIPTS), [sizes], [0, 0])
    row, column = space.unit_rows["head"], space.level_columns["grid@1"]
    assert np.isinf(space.sizes_under(0)[row, column])
    assert "grid@1" not in choices_of(space)["level head"]
    with pytest.raises(UserError, match="fits unit head under every vocabulary"):
        with_vocabularies(w.space, ("full", SCRIPTS), [{("head", level): np.inf for level in BITS}], [0, 0])
