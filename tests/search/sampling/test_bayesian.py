"""The bayesian sampler: learns what the sensitivities got wrong, beats random."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from results.pareto import hypervolume
from search.sampling.base import distributions
from search.sampling.bayesian import BayesianSampler
from search.sampling.quality_model import QualityModel, observed_damage
from search.sampling.registry import make_sampler
from search.space.allocate import allocate
from search.space.space import Choice
from tests.search.worlds import World, middle_bin, some_choice, world


def volume(w: World, points: list[tuple[float, float]]) -> float:
    return hypervolume(points, (middle_bin(w).high, 0.0))


def volume_after(w: World, sampler: optuna.samplers.BaseSampler, trials: int) -> float:
    """Hypervolume inside the bin of that many scored candidates."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask(distributions(w.space))
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
    size_bin = middle_bin(w)
    other = volume_after(w, make_sampler("random", w.constraint, [size_bin], seed), 60)
    assert volume_after(w, bayesian(w, seed), 12) > 1.5 * other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reaches_nearly_the_optimum_although_sensitivities_are_wrong(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    size_bin = middle_bin(w)
    perfect = [w.constraint.fill(w.truth, size, size_bin) for size in np.linspace(size_bin.low, size_bin.high - 1, 40)]
    best = volume(w, [(w.constraint.size(choice), w.comet(choice)) for choice in perfect if choice is not None])
    assert volume_after(w, bayesian(w, seed), 60) >= 0.85 * best


def test_parallel_asks_differ() -> None:
    w = world(layers=10)
    sampler = bayesian(w, 0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    digests = {
        w.space.policy(w.space.from_parameters(study.ask(distributions(w.space)).params)).digest for _ in range(16)
    }
    assert len(digests) == 16


def test_same_seed_same_suggestions() -> None:
    w = world(layers=6)
    first, second = bayesian(w, 7), bayesian(w, 7)
    size_bin = middle_bin(w)
    for _ in range(5):
        assert w.space.policy(first.suggest(size_bin)) == w.space.policy(second.suggest(size_bin))


def test_observed_damage_is_nought_for_the_original_and_bounded_for_a_wreck() -> None:
    assert observed_damage(0.8, 0.8) == 0.0
    assert observed_damage(0.4, 0.8) == pytest.approx(np.log(2))
    assert observed_damage(-1.0, 0.8) == observed_damage(0.0, 0.8) < 4


def test_asking_works_at_full_size() -> None:
    """132 units in 64 layers, as Qwen2-Audio has."""
    w = world(layers=64)
    size_bin = middle_bin(w)
    assert size_bin.holds(w.constraint.size(bayesian(w, 0).suggest(size_bin)))


def test_same_policies_are_never_suggested_twice_nor_failed_ones() -> None:
    w = world(layers=6)
    sampler, size_bin = bayesian(w, 3), middle_bin(w)
    first = [sampler.suggest(size_bin) for _ in range(20)]
    assert len({w.space.key(choice) for choice in first}) == 20
    bad = some_choice(w, 5)
    sampler.mark_failed(bad)
    assert w.space.key(bad) not in {w.space.key(sampler.suggest(size_bin)) for _ in range(40)}


def kl_of(w: World, choice: Choice) -> float:
    """As on a real model: more than the sum of the parts."""
    return 2.0 * float(w.truth.total(w.space, choice)) ** 1.5


@pytest.mark.parametrize("seed", [0, 1])
def test_kl_alone_teaches_which_policy_is_good(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    sampler, size_bin = bayesian(w, seed), middle_bin(w)
    excess = []
    for _ in range(80):
        choice = sampler.suggest(size_bin)
        size, kl = w.constraint.size(choice), kl_of(w, choice)
        sampler.learn_kl(choice, size, kl)
        perfect = allocate(w.space, w.truth, w.space.variable_bytes(choice))
        assert perfect is not None
        excess.append(np.log(kl / kl_of(w, perfect)))
    assert np.median(excess[-20:]) < 0.7 * np.median(excess[:20])
    assert np.median(excess[-20:]) < 0.35


def test_the_most_promising_of_those_stopped_is_scored_when_there_is_room() -> None:
    w = world(layers=6)
    sampler, size_bin = bayesian(w, 0), middle_bin(w)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(sampler.warm_after):
        choice = w.space.from_parameters(study.ask().relative_params)
        sampler.learn_kl(choice, w.constraint.size(choice), kl_of(w, choice))
    room = [True]
    sampler.may_score = lambda: room[0]
    promised = [sampler.best_unscored(size_bin) for _ in range(20)]
    keys = {w.space.key(each.choice) for each in promised if each is not None}
    again = w.space.from_parameters(study.ask().relative_params)
    assert w.space.key(again) in keys, "the one for the top of the bin, or the one that adds most to the front"
    observation = sampler.observations.get(again)
    assert observation is not None
    assert observation.pending
    other = w.space.from_parameters(study.ask().relative_params)
    assert w.space.key(other) != w.space.key(again), "what is being scored is not asked for twice"
    room[0] = False
    assert sampler.observations.get(w.space.from_parameters(study.ask().relative_params)) is None, "a new one"


def test_both_ends_of_the_bin_are_scored_first() -> None:
    w = world(layers=10)
    sampler, size_bin = bayesian(w, 0), middle_bin(w)
    for _ in range(sampler.warm_after):
        choice = sampler.suggest(size_bin)
        sampler.learn_kl(choice, w.constraint.size(choice), kl_of(w, choice))
    sizes = []
    for _ in range(2):
        observation = sampler.best_unscored(size_bin)
        assert observation is not None
        sampler.learn(observation.choice, observation.size, w.comet(observation.choice))
        sizes.append(observation.size)
    low = max(size_bin.low, w.constraint.size(w.constraint.smallest()))
    assert min(sizes) <= low + 0.2 * (size_bin.high - low), sizes


def test_a_policy_as_good_as_the_original_is_promising() -> None:
    """A KL of 0, as of a policy that changes nothing, is a number like any other."""
    w = world(layers=6)
    sampler, size_bin = bayesian(w, 0), middle_bin(w)
    for kl in (0.0, 0.2, 0.4):
        choice = sampler.suggest(size_bin)
        sampler.learn_kl(choice, w.constraint.size(choice), kl)
    assert all(sampler.best_unscored(size_bin) is not None for _ in range(20))


def test_a_score_that_was_learned_already_is_not_learned_again_from_its_trial() -> None:
    w = world(layers=6)

    def costs(trials: bool, directly: bool, change: float = 0.0) -> np.ndarray:
        """Of every action at the mean, after ten scores from trials, by `learn`, or both."""
        sampler = bayesian(w, 4)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for n in range(10):
            choice = some_choice(w, n)
            size, comet = w.constraint.size(choice), w.comet(choice)
            if directly:
                sampler.learn(choice, size, comet)
            if trials:
                trial = optuna.trial.create_trial(
                    params=w.space.parameters(choice), distributions=distributions(w.space), values=[comet, size]
                )
                sampler.after_trial(study, trial, optuna.trial.TrialState.COMPLETE, [comet + change, float(size)])
        return sampler.quality_model.draw(np.random.default_rng(0), 0.0).levels

    once = costs(trials=False, directly=True)
    assert np.array_equal(costs(trials=True, directly=False), once)
    assert np.array_equal(costs(trials=True, directly=True), once)
    assert not np.array_equal(costs(trials=True, directly=True, change=0.01), once), "another score is learned"
