"""Drafts: the same translations as without them, whatever is drafted; where floats could tip, plain decoding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import compress
import embedded
from evaluate.data.open import open_data
from evaluate.decoding import drafts as drafting
from evaluate.decoding.batches import prepare
from evaluate.decoding.drafts import Drafts, Tie, agreed, cut, usable
from evaluate.decoding.encoder_cache import EncoderCache, encoder_key
from evaluate.decoding.generate import translate

COUNT = 8


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> compress.Resident:
    torch.set_num_threads(1)
    store = compress.Store(tmp_path_factory.mktemp("store"))
    return compress.Resident(compress.Source.open(embedded.MODEL), store)


@pytest.fixture(scope="module")
def batches(resident: Any) -> Any:
    return prepare(open_data("embedded", "dev", "en-zh").first(COUNT), resident.processor, COUNT)


def policies(resident: Any) -> list[compress.Policy]:
    units = list(resident.source.structure.units)
    found = []
    for level, changed in (("grid@3", ""), ("grid@3", "lm.5.mlp"), ("grid@2", ""), ("grid@2", "head")):
        levels = {**dict.fromkeys(units, level), **({changed: "grid@2.5"} if changed else {})}
        found.append(compress.Policy(resident.source.digest, levels))
    return found


@pytest.mark.parametrize("limit", [40, 7])
def test_translations_are_the_same_with_drafts(resident: Any, batches: Any, limit: int) -> None:
    drafts, cache = Drafts(), EncoderCache(1 << 28)
    for policy in policies(resident):
        resident.apply(policy)
        plain = translate(resident.model, resident.processor, batches, limit)
        key = encoder_key(policy)
        assert translate(resident.model, resident.processor, batches, limit, drafts=drafts) == plain
        again = translate(resident.model, resident.processor, batches, limit, None, cache, key, drafts)
        assert again == plain
    assert drafts.confirmed > COUNT
    assert drafts.ties == 0


def test_nonsense_as_drafts_does_no_harm(resident: Any, batches: Any) -> None:
    resident.restore()
    plain = translate(resident.model, resident.processor, batches, 40)
    drafts, generator = Drafts(), torch.Generator().manual_seed(0)
    for row in batches[0].row_digests[1:]:
        drafts.add(row, tuple(torch.randint(6, 900, (9,), generator=generator).tolist()))
    assert translate(resident.model, resident.processor, batches, 40, drafts=drafts) == plain
    assert translate(resident.model, resident.processor, batches, 40, drafts=drafts) == plain


def test_where_tokens_are_too_close_plain_decoding_decides(
    resident: Any, batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident.restore()
    plain = translate(resident.model, resident.processor, batches, 40)
    drafts = Drafts()
    translate(resident.model, resident.processor, batches, 40, drafts=drafts)
    monkeypatch.setattr(drafting, "TIE", 2.0)
    assert translate(resident.model, resident.processor, batches, 40, drafts=drafts) == plain
    assert (drafts.ties, drafts.confirmed) == (1, 0)


def test_the_two_kinds_of_pass_differ_far_less_than_a_tie(resident: Any, batches: Any) -> None:
    resident.restore()
    model, batch = resident.model, batches[0]
    with torch.inference_mode():
        found = model.generate(
            **batch.inputs, do_sample=False, max_new_tokens=30, return_dict_in_generate=True, output_logits=True
        )
        start = batch.inputs["input_ids"].shape[1]
        tokens = [cut(row, drafting.ends_of(model), 30) for row in found.sequences[:, start:].tolist()]
        inputs, first = drafting.append_tokens(batch, tokens, resident.processor.tokenizer.pad_token_id)
        at_once = model(**inputs, use_cache=False).logits[:, first:]
    worst = 0.0
    for row, written in enumerate(tokens):
        for step in range(len(written)):
            said = found.logits[step][row]
            worst = max(worst, float((said - at_once[row, step]).abs().max() / said.abs().max()))
    assert 0 < worst < drafting.TIE / 5


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 12)
)
def test_what_is_agreed_is_what_the_model_writes(draft: list[int], truth: list[int], limit: int) -> None:
    end = 0
    whole = cut([*truth, end], (end,), limit)
    # What a model that writes `whole` says at each place: right as long as the draft was, anything after that.
    own = [(whole[n] if n < len(whole) and draft[:n] == list(whole[:n]) else 9, True) for n in range(len(draft) + 1)]
    found = agreed(own, tuple(draft[:limit]), (), (end,), limit)
    assert found
    assert found == whole[: len(found)]


def test_what_is_not_sure_is_a_tie_only_where_it_matters() -> None:
    assert agreed([(5, True), (7, True), (1, False)], (5, 6), (), (0,), 9) == (5, 7)
    with pytest.raises(Tie):
        agreed([(5, True), (6, False), (1, True)], (5, 6), (), (0,), 9)


def test_the_most_frequent_that_fits_is_offered_and_memory_is_bounded() -> None:
    drafts = Drafts(limit=2, each=3)
    for tokens in ((1, 2, 3), (1, 2, 3), (1, 5), (1, 5, 6)):
        drafts.add("a", tokens)
    assert drafts.offer("a", ()) == (1, 2, 3)
    assert drafts.offer("a", (1, 5)) == (1, 5, 6)
    assert drafts.offer("a", (1, 5, 6)) is None
    assert drafts.offer("b", ()) is None
    assert drafts.spliced("a", (9, 2)) == (9, 2, 3)
    assert drafts.spliced("a", (9, 8)) == (9, 8, 3)
    drafts.add("a", (7,))
    assert drafts.offer("a", (7,)) is None
    assert drafts.offer("a", ()) == (1, 2, 3)
    drafts.add("b", (1,))
    drafts.add("c", (1,))
    assert drafts.offer("a", ()) is None


@pytest.mark.parametrize(
    ("dtype", "settings", "fit"),
    [
        (torch.float32, {}, True),
        (torch.bfloat16, {}, False),
        (torch.float32, {"repetition_penalty": 1.1}, False),
        (torch.float32, {"no_repeat_ngram_size": 3}, False),
        (torch.float32, {"suppress_tokens": [1]}, False),
        (torch.float32, {"num_beams": 4}, False),
        (torch.float32, {"temperature": 0.7, "top_k": 20}, True),
    ],
)
def test_drafts_are_for_plain_greedy_float32_only(dtype: Any, settings: dict[str, Any], fit: bool) -> None:
    from transformers import GenerationConfig

    model = SimpleNamespace(dtype=dtype, generation_config=GenerationConfig(**settings))
    assert usable(model) is fit
