"""Tied units: the same policies as without, fewer choices."""

from __future__ import annotations

import numpy as np
import pytest

from search.space.groups import tie
from search.space.space import Choice
from tests.search.worlds import world


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("groups", ["layer", "1", "2", "4"])
def test_a_tied_choice_has_the_bytes_of_its_policy(groups: str, trims: bool) -> None:
    w = world(layers=6, seed=1, trims=trims)
    tied = tie(w.space, groups)
    generator = np.random.default_rng(0)
    for _ in range(30):
        dropped = tied.droppable & (generator.random(len(tied.layers)) < 0.3)
        vocabulary = int(generator.integers(len(tied.vocabularies)))
        choice = Choice(generator.integers(0, len(tied.levels), len(tied.units)), dropped, vocabulary)
        policy = tied.policy(choice)
        untied = w.space.choice(policy)
        assert untied is not None
        assert w.space.variable_bytes(untied) == tied.variable_bytes(choice)
        assert w.space.policy(untied) == policy
        back = tied.choice(policy)
        assert back is not None
        assert tied.policy(back) == policy


def test_rows_are_named_after_what_they_tie() -> None:
    w = world(layers=6)
    assert tie(w.space, "layer").units == ("lm.0", "lm.1", "lm.2", "lm.3", "lm.4", "lm.5", "embedding", "head")
    by_four = tie(w.space, "4")
    assert by_four.layers == ("lm.0-3", "lm.4-5")
    assert by_four.units == (
        "lm.0-3.attention", "lm.0-3.mlp", "lm.4-5.attention", "lm.4-5.mlp", "embedding", "head"
    )  # fmt: skip
    assert list(by_four.droppable) == [False, True], "the first layer is never dropped, nor what is tied to it"


def test_a_policy_that_gives_tied_units_different_levels_is_not_in_the_space() -> None:
    w = world(layers=4)
    columns = np.zeros(len(w.space.units), dtype=int)
    columns[0] = 1
    policy = w.space.policy(Choice(columns, np.zeros(4, dtype=bool)))
    assert tie(w.space, "layer").choice(policy) is None
    assert w.space.choice(policy) is not None


def test_without_groups_nothing_is_tied() -> None:
    w = world(layers=4)
    assert tie(w.space, "") is w.space
