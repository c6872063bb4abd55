"""No policy outside the bin is ever suggested, by whichever sampler."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from compress.sizes import Bin
from search.sampling.bayesian import BayesianSampler
from search.sampling.optuna_samplers import NAMES, STOCK, make_sampler
from search.sampling.quality_model import QualityModel
from search.space.space import Choice
from tests.search.space.test_space import some_choice
from tests.search.worlds import World, world


def middle_bin(w: World) -> Bin:
    least, most = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    return Bin("Bin2", round(least + 0.1 * (most - least)), round(least + 0.3 * (most - least)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_repair_ends_inside_the_bin(seed: int, trims: bool) -> None:
    w = world(seed=seed % 7, trims=trims)
    into = middle_bin(w)
    fixed = w.constraint.repair(some_choice(w, seed), into, np.random.default_rng(seed))
    assert fixed is not None
    assert into.holds(w.constraint.size(fixed))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 1.0), st.booleans())
def test_fill_ends_inside_the_bin_at_most_at_the_target(seed: int, share: float, trims: bool) -> None:
    w = world(seed=seed, trims=trims)
    into = middle_bin(w)
    target = into.low + share * (into.high - 1 - into.low)
    choice = w.constraint.fill(w.truth, target, into)
    if choice is not None:
        assert into.low <= w.constraint.size(choice) <= target


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_stays_inside(name: str, trims: bool) -> None:
    w = world(layers=8, seed=2, trims=trims)
    into = middle_bin(w)
    bayesian = BayesianSampler(w.constraint, [into], QualityModel(w.space, w.sensitivities), seed=1, original=0.8)
    sampler = bayesian if name == "house" else make_sampler(name, w.constraint, [into], 1)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    seen, vocabularies = set(), set()
    asked = 12 if name == "gp" else 30  # a Gaussian process costs seconds an ask
    for _ in range(asked):
        trial = study.ask(w.space.distributions)
        choice = w.space.from_parameters(trial.params)
        size = w.constraint.size(choice)
        assert into.holds(size)
        seen.add(w.space.policy(choice).digest)
        vocabularies.add(choice.vocabulary)
        study.tell(trial, [w.comet(choice), size])
    assert len(seen) == asked if name == "house" else len(seen) > asked // 2
    if trims and name in STOCK:  # it is a parameter like any other; ours try what they do not need seldom
        assert vocabularies == {0, 1}


def test_a_bin_out_of_reach_is_refused_with_what_could_be() -> None:
    w = world()
    least, most = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    with pytest.raises(UserError, match=f"Bin5 .* cannot be reached.*{least:,} to {most:,}"):
        w.constraint.check_reachable((Bin("Bin5", 0, least),))
    w.constraint.check_reachable((Bin("Bin2", least, least + 1), Bin("Bin1", most, most + 1)))


def test_a_smaller_vocabulary_reaches_smaller_bins() -> None:
    w, full = world(trims=True), world()
    least = w.constraint.size(w.constraint.smallest())
    assert w.constraint.smallest().vocabulary == 1
    assert w.constraint.largest().vocabulary == 0
    assert w.constraint.smallest(drop=False).vocabulary == 1
    assert least < full.constraint.size(full.constraint.smallest())
    into = Bin("Bin5", 0, full.constraint.size(full.constraint.smallest()))
    w.constraint.check_reachable((into,))
    with pytest.raises(UserError, match="cannot be reached"):
        full.constraint.check_reachable((into,))
    fixed = w.constraint.repair(
        Choice(some_choice(w, 3).columns, some_choice(w, 3).dropped), into, np.random.default_rng(0)
    )
    assert fixed is not None
    assert fixed.vocabulary == 1
    assert into.holds(w.constraint.size(fixed))
