"""Prompts: the published forms, one's own template, and what a template may not hold."""

from __future__ import annotations

import pytest

from compress.errors import UserError
from evaluate.decoding.prompts import AUDIO, prompt, text_prompt


def test_a_template_takes_the_place_of_the_instruction() -> None:
    assert prompt("en-fr", template="Say it in {target_language}, not {source_language}!") == (
        AUDIO + "Say it in French, not English!"
    )
    assert "\nSay it in French<|im_end|>" in prompt("en-fr", True, "Say it in {target_language}")


def test_a_template_with_the_audio_token_is_the_whole_prompt() -> None:
    assert prompt("en-de", True, "{target_language}: <|AUDIO|>.") == "German: <|AUDIO|>."


def test_text_prompts() -> None:
    assert text_prompt("cs-de", "Ahoj {x}") == "Czech: Ahoj {x}\nGerman:"
    assert text_prompt("en-arz", "Hi", chat=True) == (
        "Translate the following text from English into Egyptian Arabic.\nHi"
    )
    assert text_prompt("en-zh", "Hi", template="{{{text}}} → {target_language}") == "{Hi} → Chinese"


@pytest.mark.parametrize(
    ("template", "speech", "message"),
    [
        ("{language}", True, r"holds \{language\}: known are"),
        ("{}", True, r"holds \{\}: known are"),
        ("{text!r}", False, r"holds \{text\}"),
        ("{text:>9}", False, r"holds \{text\}"),
        ("{target_language", True, "cannot be read"),
        ("{text}", True, "speech is translated"),
        ("{target_language}", False, "no place for the sentence"),
    ],
)
def test_templates_that_cannot_be_meant(template: str, speech: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prompt("en-zh", template=template) if speech else text_prompt("en-zh", "a", template=template)


def test_a_language_without_a_name_is_refused() -> None:
    for lang in ("en-xx", "zh", "en-en", "en-", "-zh"):
        with pytest.raises(UserError, match=f"unknown language pair '{lang}'"):
            prompt(lang)
