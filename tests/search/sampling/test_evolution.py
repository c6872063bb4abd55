"""EvoPress's mutations: inside the bin, near the parent, and better with generations."""

from __future__ import annotations

import numpy as np
import optuna

from search.sampling.base import distributions
from search.sampling.evolution import OFFSPRING, EvolutionSampler
from search.space.space import Choice
from tests.search.worlds import middle_bin, world


def test_it_starts_from_one_level_and_gets_better() -> None:
    w = world(layers=8, seed=1)
    size_bin = middle_bin(w)
    sampler = EvolutionSampler(w.constraint, [size_bin], 0)
    scores = []
    for _ in range(10 * OFFSPRING):
        choice = sampler.suggest(size_bin)
        assert size_bin.holds(w.constraint.size(choice))
        scores.append(w.comet(choice))
        sampler.learn(choice, w.constraint.size(choice), scores[-1])
    assert max(scores[-OFFSPRING:]) > scores[0]
    assert max(scores) > max(scores[: 2 * OFFSPRING])


def test_children_are_near() -> None:
    w = world(layers=8, seed=2)
    sampler = EvolutionSampler(w.constraint, [middle_bin(w)], 0)
    parent = Choice(np.full(len(w.space.units), 2), np.zeros(len(w.space.layers), dtype=bool))
    for _ in range(50):
        child = sampler.mutate(parent)
        assert (child.columns != parent.columns).sum() <= 6
        assert abs(child.columns - parent.columns).max() <= 3


def test_drops_are_exchanged_one_for_one() -> None:
    w = world(layers=8, seed=3)
    sampler = EvolutionSampler(w.constraint, [middle_bin(w)], 0)
    dropped = np.zeros(len(w.space.layers), dtype=bool)
    dropped[[2, 5]] = True
    parent = Choice(np.full(len(w.space.units), 2), dropped)
    children = [sampler.mutate(parent) for _ in range(100)]
    assert all(child.dropped.sum() == 2 for child in children)
    assert any((child.dropped != dropped).any() for child in children)


def test_it_is_a_sampler_of_optuna() -> None:
    w = world(layers=4, seed=4)
    size_bin = middle_bin(w)
    sampler = EvolutionSampler(w.constraint, [size_bin], 0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(12):
        trial = study.ask(distributions(w.space))
        choice = w.space.from_parameters(trial.params)
        study.tell(trial, [w.comet(choice), w.constraint.size(choice)])
        assert size_bin.holds(w.constraint.size(choice))


def test_the_vocabulary_is_switched_now_and_then_and_only_where_there_are_several() -> None:
    w = world(layers=8, seed=3, trims=True)
    sampler = EvolutionSampler(w.constraint, [middle_bin(w)], 0)
    parent = Choice(np.full(len(w.space.units), 2), np.zeros(len(w.space.layers), dtype=bool), 1)
    vocabularies = [sampler.mutate(parent).vocabulary for _ in range(300)]
    assert 0 < vocabularies.count(0) < 90
    one = world(layers=8, seed=3)
    alone = EvolutionSampler(one.constraint, [middle_bin(one)], 0)
    assert {alone.mutate(Choice(parent.columns, parent.dropped)).vocabulary for _ in range(100)} == {0}
