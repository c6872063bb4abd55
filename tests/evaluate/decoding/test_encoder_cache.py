"""What the tower heard is kept, bounded, and changes nothing to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import compress
import embedded
from evaluate.data.open import open_data
from evaluate.decoding.batches import prepare
from evaluate.decoding.encoder_cache import EncoderCache, EncoderHook, EncoderOutput, encoder_key, find_encoder
from evaluate.decoding.generate import translate
from evaluate.decoding.placing import place
from evaluate.metrics.divergence import divergence, teach

COUNT = 6


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> compress.Resident:
    torch.set_num_threads(1)
    store = compress.Store(tmp_path_factory.mktemp("store"))
    return compress.Resident(compress.Source.open(embedded.MODEL), store)


@pytest.fixture(scope="module")
def batches(resident: Any) -> Any:
    return prepare(open_data("embedded", "dev", "en-zh").first(COUNT), resident.processor, 4)


def policy(resident: Any, **changed: str) -> compress.Policy:
    levels = {**dict.fromkeys(resident.source.structure.units, "grid@3"), **changed}
    return compress.Policy(resident.source.digest, levels)


def logits(model: Any, batch: Any, cache: EncoderCache | None) -> torch.Tensor:
    ear = EncoderHook(model, batch, cache, "" if cache is None else "here")
    with torch.inference_mode(), ear.hearing():
        found: torch.Tensor = model(**place(batch.inputs, model)).logits
    return found


def test_logits_are_bit_equal_and_the_tower_does_not_run_again(resident: Any, batches: Any) -> None:
    resident.restore()
    tower, runs = find_encoder(resident.model), []
    hook = tower.conv1.register_forward_hook(lambda *_: runs.append(1))
    cache = EncoderCache(1 << 28)
    for batch in batches:
        plain = logits(resident.model, batch, None)
        assert torch.equal(logits(resident.model, batch, cache), plain)
        before = len(runs)
        assert torch.equal(logits(resident.model, batch, cache), plain)
        assert len(runs) == before
    hook.remove()
    assert (cache.hits, cache.misses, len(cache)) == (len(batches), len(batches), len(batches))
    assert "forward" not in tower.__dict__


def test_translations_and_closeness_are_the_same_for_policies_that_share_a_tower(resident: Any, batches: Any) -> None:
    resident.restore()
    original = translate(resident.model, resident.processor, batches, 40)
    cache = EncoderCache(1 << 28)
    taught = teach(resident.model, resident.processor, batches, original, cache, encoder_key(None))
    first = policy(resident)
    other = policy(resident, **{"lm.3.mlp": "grid@2"})
    deaf = policy(resident, **{"audio.3.mlp": "grid@1"})
    misses = {}
    for name, each in (("first", first), ("other", other), ("deaf", deaf), ("again", first)):
        resident.apply(each)
        plain = translate(resident.model, resident.processor, batches, 40)
        kl = divergence(resident.model, taught)
        before = cache.misses
        cached = translate(resident.model, resident.processor, batches, 40, tower=cache, encoder_key=encoder_key(each))
        assert cached == plain
        assert divergence(resident.model, taught, cache, encoder_key(each)) == kl
        misses[name] = cache.misses - before
    assert misses == {"first": len(batches), "other": 0, "deaf": len(batches), "again": 0}


def test_the_key_names_what_is_done_to_the_tower_and_nothing_else(resident: Any) -> None:
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
    def heard(frames: int) -> EncoderOutput:
        return EncoderOutput(torch.zeros(1, frames, 10), frames, object)

    cache = EncoderCache(1000)
    for name in "abc":
        cache.put((name,), heard(10))  # 400 bytes each
    assert cache.get(("a",)) is None
    assert cache.get(("b",)) is not None
    cache.put(("d",), heard(10))
    assert cache.get(("c",)) is None
    assert cache.get(("b",)) is not None
    assert cache.nbytes == 800
    cache.put(("large",), heard(100))
    assert len(cache) == 2
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_rows_come_from_what_the_whole_batch_heard(resident: Any, batches: Any) -> None:
    resident.restore()
    batch = batches[0]
    ear = EncoderHook(resident.model, batch)
    assert not ear.knows
    whole = logits(resident.model, batch, None)
    with torch.inference_mode(), ear.hearing():
        resident.model(**place(batch.inputs, resident.model))
    assert ear.knows
    rows = [2, 0]
    part = {name: value[rows] for name, value in batch.inputs.items()}
    with torch.inference_mode(), ear.hearing(rows):
        found = resident.model(**place(part, resident.model)).logits
    assert torch.allclose(found, whole[rows], atol=1e-3)


def test_a_failing_model_gets_its_tower_back(resident: Any, batches: Any) -> None:
    tower = find_encoder(resident.model)
    with pytest.raises(RuntimeError, match="on purpose"), EncoderHook(resident.model, batches[0]).hearing():
        raise RuntimeError("on purpose")
    assert "forward" not in tower.__dict__


def test_a_cache_without_a_key_is_a_mistake(resident: Any, batches: Any) -> None:
    with pytest.raises(ValueError, match="encoder_key"):
        translate(resident.model, resident.processor, batches, 4, tower=EncoderCache(1))


def test_running_out_of_memory_changes_nothing(resident: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resident.restore()
    cache = EncoderCache(1 << 28)
    whole = translate(resident.model, resident.processor, batches, 40, tower=cache, encoder_key="here")
    generate = resident.model.generate

    def short_of_memory(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("no room")
        return generate(**inputs)

    monkeypatch.setattr(resident.model, "generate", short_of_memory)
    for _ in range(2):
        assert translate(resident.model, resident.processor, batches, 40, tower=cache, encoder_key="here") == whole


def test_only_a_tower_is_taken_for_one(tmp_path: Path) -> None:
    del tmp_path
    assert find_encoder(torch.nn.Sequential(torch.nn.Linear(2, 2))) is None
