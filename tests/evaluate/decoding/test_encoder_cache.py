"""The encoder cache changes no result, to the last bit, and is bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import compress
from compress.tensors import to_model
from evaluate.data.open import open_data
from evaluate.decoding.batches import prepare
from evaluate.decoding.encoder_cache import (
    EncoderCache,
    EncoderHook,
    EncoderOutput,
    cached_encoder,
    encoder_key,
    find_encoder,
)
from evaluate.decoding.generate import translate
from evaluate.metrics.divergence import divergence, reference_logits

COUNT, TOKENS = 4, 24


@pytest.fixture(scope="module")
def batches(embedded_resident: Any) -> Any:
    embedded_resident.restore()
    return prepare(open_data("embedded", "dev", "en-zh").first(COUNT), embedded_resident.processor, 3)


def policy(resident: Any, **changed: str) -> compress.Policy:
    levels = {**dict.fromkeys(resident.source.structure.units, "grid@3"), **changed}
    return compress.Policy(resident.source.digest, levels)


def logits(model: Any, batch: Any, cache: EncoderCache | None) -> torch.Tensor:
    with torch.inference_mode(), cached_encoder(model, batch, cache, "the model's"):
        output: torch.Tensor = model(**to_model(batch.inputs, model)).logits
    return output


def test_logits_are_bit_equal_and_the_encoder_does_not_run_again(resident: Any, batches: Any) -> None:
    encoder, runs = find_encoder(resident.model), []
    counter = encoder.conv1.register_forward_hook(lambda *_: runs.append(1))
    cache = EncoderCache(1 << 28)
    for batch in batches:
        plain = logits(resident.model, batch, None)
        assert torch.equal(logits(resident.model, batch, cache), plain)
        before = len(runs)
        assert torch.equal(logits(resident.model, batch, cache), plain)
        assert len(runs) == before
    counter.remove()
    assert (cache.hits, cache.misses, len(cache)) == (len(batches), len(batches), len(batches))
    assert "forward" not in encoder.__dict__


def test_policies_that_share_an_encoder_translate_and_diverge_as_without_a_cache(resident: Any, batches: Any) -> None:
    original = translate(resident.model, resident.processor, batches, TOKENS)
    cache = EncoderCache(1 << 28)
    references = reference_logits(resident.model, resident.processor, batches, original, cache, encoder_key(None))
    first = policy(resident)
    other = policy(resident, **{"lm.3.mlp": "grid@2"})
    changed = policy(resident, **{"audio.3.mlp": "grid@1"})
    misses = {}
    for name, each in (("first", first), ("other", other), ("changed", changed), ("again", first)):
        resident.apply(each)
        plain = translate(resident.model, resident.processor, batches, TOKENS)
        kl = divergence(resident.model, references)
        before = cache.misses
        cached = translate(resident.model, resident.processor, batches, TOKENS, None, cache, encoder_key(each))
        assert cached == plain
        assert divergence(resident.model, references, cache, encoder_key(each)) == kl
        misses[name] = cache.misses - before
    assert misses == {"first": len(batches), "other": 0, "changed": len(batches), "again": 0}


def test_the_key_names_what_is_done_to_the_encoder_and_nothing_else(resident: Any) -> None:
    one = policy(resident)
    assert encoder_key(one) == encoder_key(policy(resident, head="nf4", projector="int8"))
    assert encoder_key(one) == encoder_key(replace(one, dropped=("lm.4",)))
    keys = {
        encoder_key(None),
        encoder_key(one),
        encoder_key(policy(resident, **{"audio.conv": "grid@2"})),
        encoder_key(replace(one, dropped=("audio.4",))),
        encoder_key(replace(one, calibration="ab" * 16)),
    }
    assert len(keys) == 5


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    def output(frames: int) -> EncoderOutput:
        return EncoderOutput(torch.zeros(1, frames, 10), frames, object)

    cache = EncoderCache(1000)
    for name in "abc":
        cache.put((name,), output(10))  # 400 bytes each
    assert cache.get(("a",)) is None
    assert cache.get(("b",)) is not None
    cache.put(("d",), output(10))
    assert cache.get(("c",)) is None
    assert cache.get(("b",)) is not None
    assert cache.nbytes == 800
    cache.put(("large",), output(100))
    assert len(cache) == 2
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_failing_model_gets_its_encoder_back(resident: Any) -> None:
    encoder = find_encoder(resident.model)
    with pytest.raises(RuntimeError, match="on purpose"), EncoderHook(encoder):
        raise RuntimeError("on purpose")
    assert "forward" not in encoder.__dict__


def test_a_cache_without_a_key_is_a_mistake(resident: Any, batches: Any) -> None:
    with pytest.raises(ValueError, match="encoder_key"):
        translate(resident.model, resident.processor, batches, 4, encoder_cache=EncoderCache(1))


def test_running_out_of_memory_changes_nothing(resident: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EncoderCache(1 << 28)
    whole = translate(resident.model, resident.processor, batches, TOKENS, None, cache, "here")
    generate = resident.model.generate

    def short_of_memory(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("no room")
        return generate(**inputs)

    monkeypatch.setattr(resident.model, "generate", short_of_memory)
    for _ in range(2):
        assert translate(resident.model, resident.processor, batches, TOKENS, None, cache, "here") == whole


def test_a_model_without_an_encoder_has_none() -> None:
    assert find_encoder(torch.nn.Sequential(torch.nn.Linear(2, 2))) is None
