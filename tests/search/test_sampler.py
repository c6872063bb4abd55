"""The house sampler: learns what the sensitivities got wrong, beats random."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from search.damage import Belief, observed
from search.sampler import HouseSampler
from search.stock import Repaired, stock
from tests.search.test_fit import middle_bin
from tests.search.test_space import some_choice
from tests.search.worlds import World, world


def best_after(w: World, sampler: optuna.samplers.BaseSampler, trials: int) -> float:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask(w.space.distributions)
        choice = w.space.from_parameters(trial.params)
        study.tell(trial, [w.comet(choice), w.fitter.size(choice)])
    return max(trial.values[0] for trial in study.trials)


def house(w: World, seed: int) -> HouseSampler:
    sampler = HouseSampler(w.fitter, [middle_bin(w)], Belief(w.space, w.sensitivities), seed=seed)
    sampler.original = 0.8
    return sampler


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twelve_of_ours_beat_sixty_random_ones(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    into = middle_bin(w)
    other = best_after(w, Repaired(stock("random", seed), w.fitter, [into], seed), 60)
    assert best_after(w, house(w, seed), 12) > other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reaches_nearly_the_optimum_although_sensitivities_are_wrong(seed: int) -> None:
    w = world(layers=10, seed=seed, wrong=0.7)
    into = middle_bin(w)
    perfect = w.fitter.fill(w.truth, into.high - 1, into)
    assert perfect is not None
    assert best_after(w, house(w, seed), 60) >= 0.97 * w.comet(perfect)


def test_scored_candidates_sharpen_belief() -> None:
    w = world(layers=10, seed=4, wrong=0.8)
    belief = Belief(w.space, w.sensitivities)
    probes = [some_choice(w, 1000 + n) for n in range(30)]
    truth = np.array([w.truth.of(w.space, c) for c in probes])
    before = np.abs([belief.expect(c) for c in probes] - truth).mean()
    for n in range(60):
        choice = some_choice(w, n)
        belief.learn(choice, w.truth.of(w.space, choice))
    after = np.abs([belief.expect(c) for c in probes] - truth).mean()
    assert after < 0.6 * before


def test_parallel_asks_differ() -> None:
    w = world(layers=10)
    sampler = house(w, 0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    digests = {
        w.space.policy(w.space.from_parameters(study.ask(w.space.distributions).params)).digest for _ in range(16)
    }
    assert len(digests) == 16


def test_same_seed_same_suggestions() -> None:
    w = world(layers=6)
    first, second = house(w, 7), house(w, 7)
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
    assert into.holds(w.fitter.size(house(w, 0).suggest(into)))
