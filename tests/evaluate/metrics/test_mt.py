"""Intervals and signatures."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.data.open import open_data
from evaluate.metrics.comet import Identity
from evaluate.metrics.mt import bleu, chrf, data_signature, interval, signature_of


def test_interval_holds_the_mean_and_narrows_with_segments() -> None:
    generator = np.random.default_rng(0)
    few, many = generator.normal(0.7, 0.1, 30), generator.normal(0.7, 0.1, 3000)
    for scores in (few, many):
        low, high = interval(list(scores))
        assert low < scores.mean() < high
    assert np.ptp(interval(list(many))) < 0.2 * np.ptp(interval(list(few)))


def test_interval_is_as_wide_as_theory_says() -> None:
    scores = np.random.default_rng(1).normal(0.0, 1.0, 400)
    low, high = interval(list(scores))
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 20, rel=0.1)


def test_perfect_translations() -> None:
    chinese, german = ["我们训练模型。"] * 3, ["Wir trainieren das neue Modell."] * 3
    assert chrf(chinese, chinese) == pytest.approx(100)
    assert bleu(german, german, "en-de") == pytest.approx(100)
    assert bleu(chinese, chinese, "en-zh") == pytest.approx(100)


def test_chinese_bleu_counts_characters() -> None:
    assert bleu(["我们训练该模型。"], ["我们训练该系统。"], "en-zh") > 20


def test_signature_has_all_it_takes_to_repeat_a_score() -> None:
    data = open_data("embedded", "dev", "en-zh").first(7)
    text = signature_of(Identity("Unbabel/wmt22-comet-da", "abc", "2.2.7"), data_signature(data, True), 64)
    for part in (
        "checkpoint:Unbabel/wmt22-comet-da",
        "comet:2.2.7",
        "data:embedded:dev:en-zh",
        "segments:7",
        "clean:yes",
        f"datadigest:{data.digest}",
        "transformers:",
    ):
        assert part in text
