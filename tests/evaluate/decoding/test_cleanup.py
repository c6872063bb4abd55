"""Clean-up takes off what is not translation, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.decoding.cleanup import Change, clean, clean_all


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
        ("这段英语的中文翻译是：“我们训练模型。”", "我们训练模型。"),
        ("这段话的中文翻译是“我们训练模型”。", "我们训练模型。"),
        ("这句话翻译成中文是：我们训练模型。", "我们训练模型。"),
        ("好的，以下是翻译：我们训练模型。", "我们训练模型。"),
        ("用中文来说就是：我们训练模型。", "我们训练模型。"),
        ("这段音频的原始内容是：'我们训练模型。'", "我们训练模型。"),
        ('The Chinese translation of this English speech is: "我们训练模型。"', "我们训练模型。"),
        ('The German translation of this speech is "Wir trainieren."', "Wir trainieren."),
        ("The audio says: 'Wir trainieren.'", "Wir trainieren."),
        ("In German, this is: Wir trainieren.", "Wir trainieren."),
        ("Die deutsche Übersetzung lautet: „Wir trainieren.“", "Wir trainieren."),
        ("Auf Deutsch heißt das: Wir trainieren.", "Wir trainieren."),
        ("Hier ist die Übersetzung: Wir trainieren.", "Wir trainieren."),
        ("Übersetzung:", "Übersetzung:"),
        ("机器翻译：从规则到神经网络。", "机器翻译：从规则到神经网络。"),
        ("我们的翻译是：好的。", "我们的翻译是：好的。"),
        ("翻译模型很大：它有很多参数。", "翻译模型很大：它有很多参数。"),
        ("Translation models are: big.", "Translation models are: big."),
        ("In Deutschland: ein Beispiel.", "In Deutschland: ein Beispiel."),
        ("wie z.\u00a0B. hier", "wie z.\u00a0B. hier"),
        ("翻译模型很大。", "翻译模型很大。"),
        ("Die Übersetzung ist gut: sie gefällt.", "Die Übersetzung ist gut: sie gefällt."),
        ('"Ja" und "nein"', '"Ja" und "nein"'),
        ("", ""),
    ],
)
def test_examples(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@settings(deadline=None)
@given(st.text(max_size=80))
def test_one_line_and_stable(text: str) -> None:
    once = clean(text)
    assert "\n" not in once
    assert once == once.strip()
    assert len(once) <= len(text)
    assert clean(once) == once


def test_every_change_is_counted_and_listed() -> None:
    cleaned = clean_all(["Gut so.", 'Übersetzung:  "Gut."', " a"])
    assert cleaned.texts == ("Gut so.", "Gut.", "a")
    assert cleaned.counts == {"preamble": 1, "quotes": 1, "spaces": 2}
    assert cleaned.changes == (
        Change(2, "spaces", 'Übersetzung:  "Gut."', 'Übersetzung: "Gut."'),
        Change(2, "preamble", 'Übersetzung: "Gut."', '"Gut."'),
        Change(2, "quotes", '"Gut."', "Gut."),
        Change(3, "spaces", " a", "a"),
    )
    assert cleaned.summary == "clean-up changed 2 of 3 segments (preamble 1, quotes 1, spaces 2)"
    assert clean_all(["Gut so."]).changes == ()
