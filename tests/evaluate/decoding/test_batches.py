"""Batches: segments of like length, none lost; padding on the side that is asked for."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.decoding.batches import append_completions, is_chat, pad, split_by_length
from evaluate.decoding.prompts import prompt


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 9))
def test_every_segment_is_in_one_batch(lengths: list[int], size: int) -> None:
    batches = split_by_length(lengths, size)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in batches)
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), max_size=8), min_size=1, max_size=5).filter(any), st.booleans())
def test_padding_keeps_every_token_and_masks_the_rest(rows: list[list[int]], left: bool) -> None:
    ids, mask = pad(rows, 0, "left" if left else "right")
    assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
    assert [row[inside].tolist() for row, inside in zip(ids, mask.bool(), strict=True)] == rows
    assert bool((ids[mask == 0] == 0).all())
    longest_first = mask.flip(-1) if left else mask
    assert torch.equal(longest_first, longest_first.sort(dim=-1, descending=True).values)


def test_completions_follow_the_prompts() -> None:
    ids, mask = pad([[1, 2], [3]], 0, "left")
    inputs = append_completions({"input_ids": ids, "attention_mask": mask, "features": "kept"}, [[4], [5, 6]], 0)
    assert inputs["input_ids"].tolist() == [[1, 2, 4, 0], [0, 3, 5, 6]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 0], [0, 1, 1, 1]]
    assert inputs["features"] == "kept"


def test_prompts_are_those_of_the_published_checkpoints() -> None:
    assert prompt("en-zh") == "<|audio_bos|><|AUDIO|><|audio_eos|>Translate this English speech into Chinese."
    chat = prompt("en-de", chat=True)
    assert chat.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1: ")
    assert chat.endswith("into German.<|im_end|>\n<|im_start|>assistant\n")


def test_instruct_models_are_known_by_name() -> None:
    assert is_chat("Qwen/Qwen2-Audio-7B-Instruct")
    assert not is_chat("Qwen/Qwen2-Audio-7B")
