"""Clean-up takes off what is not translation, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.cleanup import clean


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("这段英语的中文翻译是：我们训练模型。", "我们训练模型。"),
        ("翻译：我们训练模型。", "我们训练模型。"),
        ("The translation is: Wir trainieren.", "Wir trainieren."),
        ("Sure, here is the German translation: Wir trainieren.", "Wir trainieren."),
        ('"Wir trainieren."', "Wir trainieren."),
        ("“我们训练模型。”", "我们训练模型。"),
        ("  Wir   trainieren \n das Modell. ", "Wir trainieren das Modell."),
        ("翻译模型很大。", "翻译模型很大。"),
        ("Die Übersetzung ist gut: sie gefällt.", "Die Übersetzung ist gut: sie gefällt."),
        ('"Ja" und "nein"', '"Ja" und "nein"'),
        ("", ""),
    ],
)
def test_examples(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(st.text(max_size=80))
def test_one_line_and_stable(text: str) -> None:
    once = clean(text)
    assert "\n" not in once
    assert once == once.strip()
    assert len(once) <= len(text)
