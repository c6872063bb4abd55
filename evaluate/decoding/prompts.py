"""Prompts: Qwen2-Audio's two forms, a text model's two, or a template of the user."""

from __future__ import annotations

from string import Formatter

from compress.errors import UserError
from evaluate.data.languages import NAMES, split_pair

AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
AUDIO_TOKEN = "<|AUDIO|>"
SPEECH = "Translate this {source_language} speech into {target_language}."
TEXT = "Translate the following text from {source_language} into {target_language}.\n{text}"
TEXT_PLAIN = "{source_language}: {text}\n{target_language}:"  # for models without a chat template
FIELDS = ("source_language", "target_language", "text")


def prompt(lang: str, chat: bool = False, template: str | None = None) -> str:
    """For speech: the base model's prompt, or the ChatML form of the -Instruct model.

    `template` replaces the instruction; with the audio token in it, it is the whole prompt.
    """
    if template is not None:
        check_template(template, speech=True)
        if AUDIO_TOKEN in template:
            return fill(template, lang)
    instruction = fill(template or SPEECH, lang)
    if not chat:
        return AUDIO + instruction
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nAudio 1: {AUDIO}\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    )


def text_prompt(lang: str, text: str, chat: bool = False, template: str | None = None) -> str:
    """For text: the user's message of a chat, or a text to continue."""
    if template is not None:
        check_template(template, speech=False)
    return fill(template or (TEXT if chat else TEXT_PLAIN), lang, text)


def check_template(template: str, speech: bool) -> None:
    """Refuses unknown fields, and a text template without the text."""
    try:
        fields = [
            (name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template) if name is not None
        ]
    except ValueError as error:
        raise UserError(f"--prompt cannot be read ({error}): write {{{{ and }}}} for braces of your own") from None
    for name, spec, conversion in fields:
        if name not in FIELDS or spec or conversion:
            raise UserError(f"--prompt holds {{{name}}}: known are {', '.join(f'{{{field}}}' for field in FIELDS)}")
    names = [name for name, _, _ in fields]
    if speech and "text" in names:
        raise UserError("--prompt holds {text}, but speech is translated: leave it out")
    if not speech and "text" not in names:
        raise UserError("--prompt has no place for the sentence: write {text} where it belongs")


def fill(template: str, lang: str, text: str = "") -> str:
    source, target = split_pair(lang)
    return template.format(source_language=NAMES[source], target_language=NAMES[target], text=text)
