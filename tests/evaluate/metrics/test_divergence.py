"""Divergence from the original: 0 for itself, more for more damage, exact under a trimmed vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import compress
from compress.artifact.assemble import load_processor
from compress.model.vocabulary import trimmed_vocabulary
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.decoding.generate import translate
from evaluate.metrics.divergence import (
    TokenMap,
    append_mapped_translations,
    append_translations,
    divergence,
    log_probs_at,
    reference_logits,
)

COUNT = 6


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data("embedded", "dev", "en-zh").first(COUNT)


def test_the_original_is_closest_to_itself_and_worse_levels_are_farther(resident: Any, data: DataSet) -> None:
    batches = prepare(data, resident.processor, COUNT)
    texts = translate(resident.model, resident.processor, batches, 48)
    references = reference_logits(resident.model, resident.processor, batches, texts)
    assert divergence(resident.model, references) == pytest.approx(0.0, abs=1e-6)
    units = resident.source.structure.units
    values = []
    for level in ("int8", "grid@3", "grid@1"):
        resident.apply(compress.Policy(model=resident.source.digest, levels=dict.fromkeys(units, level)))
        values.append(divergence(resident.model, references))
    resident.restore()
    assert 0 < values[0] < values[1] < values[2]
    assert divergence(resident.model, references) == pytest.approx(0.0, abs=1e-6)


def test_divergence_of_a_broken_model_is_nan(resident: Any, data: DataSet) -> None:
    batches = prepare(data.first(2), resident.processor, 2)
    references = reference_logits(resident.model, resident.processor, batches, data.references)
    weight = next(resident.model.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(float("nan"))
        value = divergence(resident.model, references)
        weight.copy_(kept)
    assert value != value


@pytest.fixture(scope="module")
def german(embedded_resident: Any) -> tuple[Any, list[str]]:
    """Some speech, in batches, and what the original says in German, where the embedded vocabulary can shrink."""
    data = open_data("embedded", "dev", "en-de").first(COUNT)
    embedded_resident.restore()
    batches = prepare(data, embedded_resident.processor, COUNT)
    return batches, translate(embedded_resident.model, embedded_resident.processor, batches, 48)


def token_map_of(resident: Any) -> TokenMap:
    trimmed = trimmed_vocabulary(resident.source, "scripts:en,de")
    assert trimmed is not None
    return TokenMap(trimmed.ids.tolist(), load_processor(trimmed.files), resident.processor)


def test_divergence_under_a_trimmed_vocabulary_is_the_share_of_the_lost_tokens(resident: Any, german: Any) -> None:
    batches, texts = german
    plain = reference_logits(resident.model, resident.processor, batches, texts)
    token_map = token_map_of(resident)
    references = reference_logits(resident.model, resident.processor, batches, texts, token_map=token_map)
    assert len(token_map.ids) == 677 < resident.source.structure.vocabulary
    log_probs = log_probs_at(resident.model, plain[0].inputs, plain[0].positions, plain[0].batch, None, "")
    lost = -log_probs[:, token_map.ids].logsumexp(-1).mean().item()
    policy = original_policy_of(resident, "scripts:en,de")
    resident.apply(policy)
    value = divergence(resident.model, references)
    # The same weights say the same of what stays, so that only the mass of what goes is missing.
    assert value == pytest.approx(lost, abs=2e-6)
    assert 0 <= value < 0.01
    resident.apply(compress.Policy(policy.model, dict.fromkeys(policy.levels, "grid@1"), (), policy.vocabulary))
    assert divergence(resident.model, references) > 0.1


def original_policy_of(resident: Any, vocabulary: str) -> compress.Policy:
    levels = dict.fromkeys(resident.source.structure.units, "raw:bf16")
    return compress.Policy(model=resident.source.digest, levels=levels, vocabulary=vocabulary)


def test_a_vocabulary_that_loses_nothing_gives_the_plain_divergence(resident: Any, german: Any) -> None:
    batches, texts = german
    everything = range(resident.source.structure.vocabulary)
    token_map = TokenMap(everything, resident.processor, resident.processor)
    references = reference_logits(resident.model, resident.processor, batches, texts, token_map=token_map)
    plain = reference_logits(resident.model, resident.processor, batches, texts)
    for mapped, unmapped in zip(references, plain, strict=True):
        assert torch.equal(mapped.inputs["input_ids"], unmapped.inputs["input_ids"])
        assert torch.equal(mapped.positions, unmapped.positions)
    resident.apply(compress.Policy(resident.source.digest, dict.fromkeys(resident.source.structure.units, "grid@2")))
    assert divergence(resident.model, references) == pytest.approx(divergence(resident.model, plain), rel=1e-5)


def test_a_trimmed_token_is_spelled_in_pieces_and_the_positions_stay(resident: Any, german: Any) -> None:
    batches, _ = german
    token_map = token_map_of(resident)
    chinese = ["模型翻译语音 and back" for _ in range(COUNT)]
    plain, before = append_translations(batches[0], resident.processor, chinese)
    inputs, places = append_mapped_translations(batches[0], resident.processor, chinese, token_map)
    assert int(places.sum()) == int(before.sum()), "a place for each token of the original's"
    assert inputs["input_ids"].shape[1] > plain["input_ids"].shape[1]
    assert int(inputs["input_ids"].max()) < len(token_map.ids)
    row, mask = inputs["input_ids"][0], inputs["attention_mask"][0].bool()
    old, old_mask = plain["input_ids"][0], plain["attention_mask"][0].bool()
    assert token_map.tokenizer.decode(row[mask]) == resident.processor.tokenizer.decode(old[old_mask])
