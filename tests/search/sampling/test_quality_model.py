"""The quality model: KLs and scores improve its forecasts, in one posterior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.sampling.quality_model import MEMORY, QualityModel
from tests.search.worlds import TRIM_DAMAGE, World, some_choice, world


def kl_of(w: World, seed: int) -> float:
    return 1.5 * float(w.truth.total(w.space, some_choice(w, seed))) ** 1.4


def errors(w: World, quality_model: QualityModel) -> float:
    probes = range(1000, 1040)
    return float(np.mean([abs(quality_model.expect_log_kl(some_choice(w, n)) - np.log(kl_of(w, n))) for n in probes]))


def test_measured_kl_improves_forecasts() -> None:
    w = world(layers=10, seed=4, wrong=0.8)
    quality_model = QualityModel(w.space, w.sensitivities)
    before = errors(w, quality_model)
    for n in range(80):
        quality_model.learn_kl(some_choice(w, n), kl_of(w, n))
    assert errors(w, quality_model) < 0.4 * before


def test_scores_improve_forecasts_of_kl_too() -> None:
    """One posterior: what COMET says of an action improves the forecast of its KL."""
    w = world(layers=10, seed=4, wrong=0.8)
    probes = [some_choice(w, n) for n in range(1000, 1040)]
    truth = [w.truth.total(w.space, choice) for choice in probes]
    quality_model = QualityModel(w.space, w.sensitivities)

    def agreement() -> float:
        return float(np.corrcoef([quality_model.expect_log_kl(choice) for choice in probes], np.log(truth))[0, 1])

    before = agreement()
    for n in range(80):
        choice = some_choice(w, n)
        quality_model.learn(choice, float(w.truth.total(w.space, choice)))
    assert agreement() > before


def test_memory_is_bounded() -> None:
    w = world(layers=1, seed=1)
    quality_model = QualityModel(w.space, w.sensitivities)
    for n in range(2 * MEMORY):
        quality_model.learn_kl(some_choice(w, n), 0.1)
    assert len(quality_model.measurements) <= 1.3 * MEMORY + 1


@pytest.mark.parametrize("kl", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_kl_that_is_no_positive_number_is_ignored(kl: float) -> None:
    w = world(layers=2)
    quality_model = QualityModel(w.space, w.sensitivities)
    quality_model.learn_kl(some_choice(w, 0), kl)
    assert quality_model.measurements == []


def test_a_draw_of_no_spread_is_the_mean_and_draws_differ() -> None:
    w = world(layers=4, seed=2)
    quality_model = QualityModel(w.space, w.sensitivities)
    for n in range(10):
        quality_model.learn_kl(some_choice(w, n), kl_of(w, n))
    generator = np.random.default_rng(0)
    mean = quality_model.draw(generator, 0.0)
    assert np.array_equal(mean.levels, quality_model.draw(generator, 0.0).levels)
    first, second = quality_model.draw(generator), quality_model.draw(generator)
    assert not np.allclose(first.levels, second.levels)
    spread = np.mean([np.log(quality_model.draw(generator).levels / mean.levels).std() for _ in range(20)])
    fresh = QualityModel(w.space, w.sensitivities)
    wide = np.mean([np.log(fresh.draw(generator).levels / w.sensitivities.levels).std() for _ in range(20)])
    assert spread < wide, "draws vary less after measurements"


def test_a_trim_is_learned_like_any_action() -> None:
    w = world(layers=4, seed=2, trims=True)
    quality_model = QualityModel(w.space, w.sensitivities)
    before = quality_model.draw(np.random.default_rng(0), spread=0.0).trims
    assert before.tolist() == pytest.approx([0.0, TRIM_DAMAGE])
    for n in range(60):
        choice = replace(some_choice(w, n), vocabulary=n % 2)
        kl = 1.5 * (w.truth.total(w.space, replace(choice, vocabulary=0)) + 1.0 * choice.vocabulary) ** 1.4
        quality_model.learn_kl(choice, kl)
    after = quality_model.draw(np.random.default_rng(0), spread=0.0).trims
    assert after[0] == 0.0
    assert after[1] > 3 * before[1], "it costs more than measured alone"
    assert quality_model.expect_log_kl(replace(choice, vocabulary=1)) > quality_model.expect_log_kl(
        replace(choice, vocabulary=0)
    )
