"""Samplers by name: every one suggests policies inside the bin only."""

from __future__ import annotations

import optuna
import pytest

from compress.errors import UserError
from search.sampling.base import distributions
from search.sampling.bayesian import BayesianSampler
from search.sampling.optuna_samplers import OPTUNA_SAMPLERS
from search.sampling.quality_model import QualityModel
from search.sampling.registry import BAYESIAN, NAMES, canonical, make_sampler
from tests.search.worlds import middle_bin, world


def test_names_and_aliases() -> None:
    assert NAMES == ("bayesian", "evolution", "tpe", "nsga2", "gp", "random")
    assert [canonical(name) for name in NAMES] == list(NAMES)
    assert canonical("house") == "bayesian"
    with pytest.raises(UserError, match="unknown sampler 'best': known are bayesian, evolution, tpe"):
        canonical("best")


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_stays_inside(name: str, trims: bool) -> None:
    w = world(layers=8, seed=2, trims=trims)
    size_bin = middle_bin(w)
    bayesian = BayesianSampler(w.constraint, [size_bin], QualityModel(w.space, w.sensitivities), seed=1, original=0.8)
    sampler = bayesian if name == BAYESIAN else make_sampler(name, w.constraint, [size_bin], 1)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    seen, vocabularies = set(), set()
    count = 12 if name == "gp" else 30  # a Gaussian process takes seconds an ask
    for _ in range(count):
        trial = study.ask(distributions(w.space))
        choice = w.space.from_parameters(trial.params)
        size = w.constraint.size(choice)
        assert size_bin.holds(size)
        seen.add(w.space.policy(choice).digest)
        vocabularies.add(choice.vocabulary)
        study.tell(trial, [w.comet(choice), size])
    assert len(seen) == count if name == BAYESIAN else len(seen) > count // 2
    if trims and name in OPTUNA_SAMPLERS:  # it is a parameter like any other; ours try what they do not need seldom
        assert vocabularies == {0, 1}
