"""Chat templates are programs of strangers: they are rendered within bounds, or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

import embedded
from compress.errors import UserError
from evaluate.decoding import chat
from evaluate.decoding.chat import chat_forms

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ '<answer>' if add_generation_prompt }}"
NESTED = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLED = "{% set n = namespace(s='xxxxxxxx') %}{% for a in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded.MODEL)


def test_texts_get_the_form_of_their_model(tokenizer: Any) -> None:
    tokenizer.chat_template = PLAIN
    assert chat_forms(tokenizer, ["a", "ä\n文"]) == ["<user>a<answer>", "<user>ä\n文<answer>"]
    assert chat_forms(tokenizer, []) == []


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (NESTED, "it ran for more than 1 s"),
        (DOUBLED, "MemoryError"),
        ("{{ 'x' * 200000 }}", "200,000 characters for a text of 1"),
        ("{{ raise_exception('only roles\\nof mine') }}", "only roles of mine"),
        ("{% for", "TemplateSyntaxError"),
        ("{{ messages[0].__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_hostile_template_is_one_line(
    tokenizer: Any, template: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 1)
    monkeypatch.setattr(chat, "MEMORY", 1 << 27)
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=f"the chat template of this model was not rendered: .*{reason}") as refused:
        chat_forms(tokenizer, ["a"])
    assert "\n" not in str(refused.value)
