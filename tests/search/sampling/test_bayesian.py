"""The bayesian sampler: learns what the sensitivities got wrong, beats random."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from compress.sizes import Bin
from results.pareto import front_indices, hypervolume
from search.sampling.bayesian import BayesianSampler
from search.sampling.optuna_samplers import ConstrainedSampler, stock
from search.sampling.quality_model import QualityModel, observed
from search.space.allocate import allocate
from search.space.space import Choice
from tests.search.space.test_constraint import middle_bin
from tests.search.space.test_space import some_choice
from tests.search.worlds import World, world


def volume(w: World, points: list[tuple[float, float]]) -> float:
    return hypervolume(points, (middle_bin(w).high, 0.0))


def volume_after(w: World, sampler: optuna.samplers.BaseSampler, trials: int) -> float:
    """Hypervolume inside the bin of that many scored candidates."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask(w.space.distributions)
        choice = w.space.from_parameters(trial.params)
        study.tell(trial, [w.comet(choice), w.constraint.size(choice)])
    return volume(w, [(trial.values[1], trial.values[0]) for trial in study.trials])


def bayesian(w: World, seed: int) -> BayesianSampler:
    return BayesianSampler(
        w.constraint, [middle_bin(w)], QualityModel(w.space, w.sensitivities), seed=seed, original=0.8
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twelve_of_ours_beat_sixty_random_ones(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    into = middle_bin(w)
    other = volume_after(w, ConstrainedSampler(stock("random", seed), w.constraint, [into], seed), 60)
    assert volume_after(w, bayesian(w, seed), 12) > 1.5 * other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reaches_nearly_the_optimum_although_sensitivities_are_wrong(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    into = middle_bin(w)
    perfect = [w.constraint.fill(w.truth, size, into) for size in np.linspace(into.low, into.high - 1, 40)]
    best = volume(w, [(w.constraint.size(choice), w.comet(choice)) for choice in perfect if choice is not None])
    assert volume_after(w, bayesian(w, seed), 60) >= 0.85 * best


def test_parallel_asks_differ() -> None:
    w = world(layers=10)
    sampler = bayesian(w, 0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    digests = {
        w.space.policy(w.space.from_parameters(study.ask(w.space.distributions).params)).digest for _ in range(16)
    }
    assert len(digests) == 16


def test_same_seed_same_suggestions() -> None:
    w = world(layers=6)
    first, second = bayesian(w, 7), bayesian(w, 7)
    into = middle_bin(w)
    for _ in range(5):
        assert w.space.policy(first.suggest(into)) == w.space.policy(second.suggest(into))


def test_observed_damage_is_nought_for_the_original_and_bounded_for_a_wreck() -> None:
    assert observed(0.8, 0.8) == 0.0
    assert observed(0.4, 0.8) == pytest.approx(np.log(2))
    assert observed(-1.0, 0.8) == observed(0.0, 0.8) < 4


def test_asking_works_at_full_size() -> None:
    """132 units in 64 layers, as Qwen2-Audio has."""
    w = world(layers=64)
    into = middle_bin(w)
    assert into.holds(w.constraint.size(bayesian(w, 0).suggest(into)))


def test_same_policies_are_never_suggested_twice_nor_failed_ones() -> None:
    w = world(layers=6)
    sampler, into = bayesian(w, 3), middle_bin(w)
    first = [sampler.suggest(into) for _ in range(20)]
    assert len({w.space.key(choice) for choice in first}) == 20
    bad = some_choice(w, 5)
    sampler.mark_failed(bad)
    assert w.space.key(bad) not in {w.space.key(sampler.suggest(into)) for _ in range(40)}


def kl_of(w: World, choice: Choice) -> float:
    """As on a real model: more than the sum of the parts."""
    return 2.0 * float(w.truth.of(w.space, choice)) ** 1.5


@pytest.mark.parametrize("seed", [0, 1])
def test_kl_alone_teaches_which_policy_is_good(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    sampler, into = bayesian(w, seed), middle_bin(w)
    excess = []
    for _ in range(80):
        choice = sampler.suggest(into)
        size, kl = w.constraint.size(choice), kl_of(w, choice)
        sampler.learn_kl(choice, size, kl)
        perfect = allocate(w.space, w.truth, w.space.weigh(choice))
        assert perfect is not None
        excess.append(np.log(kl / kl_of(w, perfect)))
    assert np.median(excess[-20:]) < 0.7 * np.median(excess[:20])
    assert np.median(excess[-20:]) < 0.35


def test_the_most_promising_of_those_stopped_is_scored_when_there_is_room() -> None:
    w = world(layers=6)
    sampler, into = bayesian(w, 0), middle_bin(w)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(sampler.warm_after):
        choice = w.space.from_parameters(study.ask().relative_params)
        sampler.learn_kl(choice, w.constraint.size(choice), kl_of(w, choice))
    room = [True]
    sampler.may_score = lambda: room[0]
    promised = {w.space.key(entry.choice) for _ in range(20) if (entry := sampler.best_unscored(into)) is not None}
    again = w.space.from_parameters(study.ask().relative_params)
    assert w.space.key(again) in promised, "the one for the top of the bin, or the one that adds most to the front"
    assert sampler.known[w.space.key(again)].pending
    other = w.space.from_parameters(study.ask().relative_params)
    assert w.space.key(other) != w.space.key(again), "what is being scored is not asked for twice"
    room[0] = False
    new = w.space.from_parameters(study.ask().relative_params)
    assert w.space.key(new) not in {key for key, known in sampler.known.items() if np.isfinite(known.kl)}


def test_both_ends_of_the_bin_are_scored_first() -> None:
    w = world(layers=10)
    sampler, into = bayesian(w, 0), middle_bin(w)
    for _ in range(sampler.warm_after):
        choice = sampler.suggest(into)
        sampler.learn_kl(choice, w.constraint.size(choice), kl_of(w, choice))
    sizes = []
    for _ in range(2):
        entry = sampler.best_unscored(into)
        assert entry is not None
        sampler.learn(entry.choice, entry.size, w.comet(entry.choice))
        sizes.append(entry.size)
    low = max(into.low, w.constraint.size(w.constraint.smallest()))
    assert min(sizes) <= low + 0.2 * (into.high - low), sizes


def test_a_policy_as_good_as_the_original_is_promising() -> None:
    """A KL of 0, as of a policy that changes nothing, is a number like any other."""
    w = world(layers=6)
    sampler, into = bayesian(w, 0), middle_bin(w)
    for kl in (0.0, 0.2, 0.4):
        choice = sampler.suggest(into)
        sampler.learn_kl(choice, w.constraint.size(choice), kl)
    assert all(sampler.best_unscored(into) is not None for _ in range(20))


def test_what_it_keeps_count_of_is_what_it_knows() -> None:
    """Fronts, lists by bin and the number of KLs are kept up to date instead of counted anew at each ask."""
    w = world(layers=8, seed=2)
    low, high = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    bins = (Bin("A", low, (low + high) // 2), Bin("B", (low + high) // 2, high + 1))
    sampler = BayesianSampler(w.constraint, bins, QualityModel(w.space, w.sensitivities), seed=0, original=1.0)
    dice = np.random.default_rng(0)
    for n in range(200):
        choice, draw = some_choice(w, n % 70), dice.random()
        if draw < 0.6:
            sampler.learn(choice, w.constraint.size(choice), float(dice.random()))
        elif draw < 0.9:
            sampler.learn_kl(choice, w.constraint.size(choice), float(dice.random()))
        else:
            sampler.mark_failed(choice)
        known = list(sampler.known.values())
        assert sampler._probed == sum(np.isfinite(k.kl) for k in known)
        for each in bins:
            inside = [k for k in known if each.holds(k.size)]
            assert {id(k) for k in inside} == {id(k) for k in sampler._inside[each.name]}
            points = [(k.size, k.comet) for k in inside if np.isfinite(k.comet)]
            assert sampler._fronts[each.name] == [points[index] for index in front_indices(points)]
