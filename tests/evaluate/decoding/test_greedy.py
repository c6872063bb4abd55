"""The greedy loop against `generate`: the same tokens, for every kind of decoder that it says it knows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
import transformers

from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding import greedy
from evaluate.decoding.batches import Batch, pad, prepare
from evaluate.decoding.encoder_cache import EncoderCache
from evaluate.decoding.generate import translate, up_to_end
from evaluate.decoding.greedy import GreedyDecoder, special_settings, supports
from evaluate.decoding.slots import left_aligned, length_groups

END = 7
SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 16}),
    "llama": ("LlamaConfig", {"num_key_value_heads": 1}),
    "mistral": ("MistralConfig", {"num_key_value_heads": 4, "sliding_window": None}),
    "cohere": ("CohereConfig", {"num_key_value_heads": 2, "logit_scale": 0.25}),
}


def text_model(kind: str, **settings: Any) -> Any:
    """A random decoder whose translations end at different lengths."""
    name, own = CONFIGS[kind]
    values = SIZES | own | {"pad_token_id": END, "eos_token_id": END, "bos_token_id": 1, "initializer_range": 0.3}
    config = getattr(transformers, name)(**(values | settings))
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = [END, 11, 12], END
    return model


def text_batches(lengths: list[list[int]]) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    batches, index = [], 0
    for rows in lengths:
        tokens = [torch.randint(13, 60, (length,), generator=generator).tolist() for length in rows]
        ids, mask = pad(tokens, END, "left")
        batches.append(Batch(tuple(range(index, index + len(rows))), {"input_ids": ids, "attention_mask": mask}))
        index += len(rows)
    return batches


def by_generate(model: Any, batches: list[Batch], limit: int) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    for batch in batches:
        new = model.generate(**batch.inputs, do_sample=False, max_new_tokens=limit)
        new = new[:, batch.inputs["input_ids"].shape[1] :].tolist()
        tokens |= {index: up_to_end(row, model) for index, row in zip(batch.indices, new, strict=True)}
    return tokens


def by_loop(model: Any, batches: list[Batch], limit: int, slots: int = 0) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    decoder = GreedyDecoder(model, limit, lambda _: nullcontext(), slots)
    decoder.translate(batches, lambda index, row: tokens.__setitem__(index, row))
    return tokens


@pytest.mark.parametrize("kind", greedy.KNOWN_DECODERS)
def test_every_known_decoder_gives_the_tokens_of_generate(kind: str) -> None:
    model = text_model(kind)
    assert supports(model)
    batches = text_batches([[40, 31, 30], [29, 22, 21], [20, 20], [9, 8, 5, 1]])
    wanted = by_generate(model, batches, 30)
    assert len({len(row) for row in wanted.values()}) > 3, "translations of one length would not fill up slots"
    for slots in (3, 5, 64):
        assert by_loop(model, batches, 30, slots) == wanted


def test_one_token_and_none() -> None:
    model = text_model("llama")
    batches = text_batches([[3, 2, 1]])
    assert by_loop(model, batches, 1) == by_generate(model, batches, 1)
    assert by_loop(model, [], 5) == {}


def test_speech_with_rows_that_take_the_place_of_others(resident: Any) -> None:
    data = open_data("embedded", "dev", "en-zh").first(24)
    batches = prepare(data, resident.processor, 5)
    wanted = translate(resident.model, resident.processor, batches, 48, use_generate=True)
    cache = EncoderCache(10**8)
    for _ in range(2):  # the second time with the encoder's outputs from the cache
        tokens: dict[int, list[int]] = {}
        texts = translate(
            resident.model, resident.processor, batches, 48, encoder_cache=cache, encoder_key="o", use_generate=False
        )
        assert texts == wanted
    decoder = GreedyDecoder(resident.model, 48, lambda _: nullcontext(), slots=7)
    decoder.translate(batches, lambda index, row: tokens.__setitem__(index, row))
    tokenizer = resident.processor.tokenizer
    assert tokenizer.batch_decode([tokens[i] for i in range(24)], skip_special_tokens=True) == wanted


def test_dropped_layers(resident: Any, data: DataSet) -> None:
    from dataclasses import replace

    from compress.policy.recipes import original_policy

    policy = replace(original_policy(resident.source), dropped=("lm.3", "lm.9", "audio.2"))
    resident.apply(policy)
    batches = prepare(data, resident.processor, 4)
    both = [translate(resident.model, resident.processor, batches, 48, use_generate=which) for which in (True, False)]
    resident.restore()
    assert both[0] == both[1]


@pytest.fixture
def data() -> DataSet:
    return open_data("embedded", "dev", "en-zh").first(8)


def test_a_lack_of_memory_halves_the_rows_and_what_is_done_stays_done(
    resident: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = prepare(data, resident.processor, 4)
    wanted = translate(resident.model, resident.processor, batches, 48, use_generate=True)
    prefill, sizes = GreedyDecoder._prefill, list[int]()

    def short_of_memory(self: Any, step: Any, batch: Batch, slots: Any) -> None:
        sizes.append(len(batch.indices))
        if len(sizes) == 2 or sizes[-1] > 2:
            raise torch.OutOfMemoryError("no room")
        prefill(self, step, batch, slots)

    monkeypatch.setattr(GreedyDecoder, "_prefill", short_of_memory)
    assert translate(resident.model, resident.processor, batches, 48, use_generate=False) == wanted
    assert sizes[0] == 4
    assert sizes[-1] <= 2


def test_what_the_loop_does_not_know_is_left_to_generate() -> None:
    model = text_model("qwen2")
    model.generation_config.repetition_penalty = 1.2
    assert special_settings(model.generation_config) == ["repetition_penalty"]
    assert not supports(model)
    assert not supports(text_model("mistral", sliding_window=16))
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2))
    assert not supports(gpt)


def test_there_are_no_more_slots_than_memory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real model's keys and values are half a megabyte a token."""
    model = text_model("qwen2")
    assert greedy.column_bytes(model) == 3 * 2 * 2 * 8 * 4
    batches, widths = text_batches([[6, 5], [4, 4], [3, 3], [2, 2]]), list[int]()
    wanted = by_loop(model, batches, 8)
    monkeypatch.setattr(greedy, "free_memory", lambda: 5 * 2 * 14 * greedy.column_bytes(model))

    class Watched(greedy._Step):
        def __init__(self, model: Any, slots: int, columns: int, graphs: bool) -> None:
            widths.append(slots)
            super().__init__(model, slots, columns, graphs)

    monkeypatch.setattr(greedy, "_Step", Watched)
    assert by_loop(model, batches, 8) == wanted
    assert widths[0] == 5


def test_prompts_move_to_the_left() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert left_aligned(mask).tolist() == [[2, 3, 3, 3], [0, 1, 2, 3]]


def test_groups_hold_prompts_of_like_length() -> None:
    assert length_groups([100, 90, 49, 48, 20]) == [range(2), range(2, 4), range(4, 5)]
    assert length_groups([5]) == [range(1)]
    assert length_groups([]) == []
