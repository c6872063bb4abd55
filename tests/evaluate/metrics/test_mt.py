"""chrF and BLEU."""

from __future__ import annotations

import pytest

from evaluate.metrics.mt import bleu, chrf


def test_perfect_translations() -> None:
    chinese, german = ["我们训练模型。"] * 3, ["Wir trainieren das neue Modell."] * 3
    assert chrf(chinese, chinese) == pytest.approx(100)
    assert bleu(german, german, "en-de") == pytest.approx(100)
    assert bleu(chinese, chinese, "en-zh") == pytest.approx(100)


def test_chinese_bleu_counts_characters() -> None:
    assert bleu(["我们训练该模型。"], ["我们训练该系统。"], "en-zh") > 20
