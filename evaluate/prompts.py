"""What the model is asked, in the two forms Qwen2-Audio was trained on."""

from __future__ import annotations

from evaluate.dataset import LANGUAGES, check_language

AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"


def instruction(lang: str) -> str:
    return f"Translate this English speech into {LANGUAGES[check_language(lang)]}."


def prompt(lang: str, chat: bool = False) -> str:
    """The base model's prompt, or the ChatML form of the -Instruct model."""
    if not chat:
        return AUDIO + instruction(lang)
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nAudio 1: {AUDIO}\n{instruction(lang)}<|im_end|>\n<|im_start|>assistant\n"
    )
