"""Batches: like lengths together, nothing lost; and the model really hears."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.decoding.batches import is_chat, split_by_length
from evaluate.decoding.prompts import prompt


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 9))
def test_every_segment_is_in_one_batch(lengths: list[int], size: int) -> None:
    batches = split_by_length(lengths, size)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in batches)
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)


def test_prompts_are_those_of_the_published_checkpoints() -> None:
    assert prompt("en-zh") == "<|audio_bos|><|AUDIO|><|audio_eos|>Translate this English speech into Chinese."
    chat = prompt("en-de", chat=True)
    assert chat.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1: ")
    assert chat.endswith("into German.<|im_end|>\n<|im_start|>assistant\n")


def test_instruct_models_are_known_by_name() -> None:
    assert is_chat("Qwen/Qwen2-Audio-7B-Instruct")
    assert not is_chat("Qwen/Qwen2-Audio-7B")
