"""Translating and divergence, on the embedded model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress
import embedded
from compress.artifact.assemble import load_processor
from compress.errors import UserError
from compress.model.vocabulary import trimmed_vocabulary
from evaluate.data.dataset import DataSet, Segment, open_data
from evaluate.decoding.batches import prepare
from evaluate.decoding.encoder_cache import EncoderHook
from evaluate.decoding.generate import halves, translate
from evaluate.metrics.divergence import Smaller, append_translations, divergence, log_probs, respelled, teach

COUNT = 10


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data("embedded", "dev", "en-zh").first(COUNT)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> compress.Resident:
    torch.set_num_threads(1)
    store = compress.Store(tmp_path_factory.mktemp("store"))
    return compress.Resident(compress.Source.open(embedded.MODEL), store)


def run(resident: Any, data: DataSet, size: int) -> list[str]:
    return translate(resident.model, resident.processor, prepare(data, resident.processor, size), 48)


def test_output_does_not_depend_on_batch_size_and_keeps_the_order(resident: Any, data: DataSet) -> None:
    found = {size: run(resident, data, size) for size in (1, 3, COUNT)}
    assert found[1] == found[3] == found[COUNT]
    assert len(set(found[1])) == COUNT


def test_it_translates(resident: Any, data: DataSet) -> None:
    from evaluate.metrics.mt import chrf

    assert chrf(run(resident, data, COUNT), data.references) > 80


def test_out_of_memory_halves_the_batch_and_goes_on(
    resident: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(resident, data, COUNT)
    generate = resident.model.generate
    sizes: list[int] = []

    def short_of_memory(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("no room")
        return generate(**inputs)

    monkeypatch.setattr(resident.model, "generate", short_of_memory)
    assert run(resident, data, COUNT) == whole
    assert max(sizes) == COUNT
    assert min(sizes) <= 3


def test_halves_hold_the_whole(resident: Any, data: DataSet) -> None:
    batch = prepare(data, resident.processor, COUNT)[0]
    left, right = halves(batch)
    assert left.indices + right.indices == batch.indices
    assert torch.equal(torch.cat([left.inputs["input_ids"], right.inputs["input_ids"]]), batch.inputs["input_ids"])


def test_the_original_is_closest_to_itself_and_worse_levels_are_farther(resident: Any, data: DataSet) -> None:
    resident.restore()
    batches = prepare(data, resident.processor, COUNT)
    texts = translate(resident.model, resident.processor, batches, 48)
    taught = teach(resident.model, resident.processor, batches, texts)
    assert divergence(resident.model, taught) == pytest.approx(0.0, abs=1e-6)
    units = resident.source.structure.units
    found = []
    for level in ("int8", "grid@3", "grid@1"):
        resident.apply(compress.Policy(model=resident.source.digest, levels=dict.fromkeys(units, level)))
        found.append(divergence(resident.model, taught))
    resident.restore()
    assert 0 < found[0] < found[1] < found[2]
    assert divergence(resident.model, taught) == pytest.approx(0.0, abs=1e-6)


def test_closeness_of_a_broken_model_is_nan(resident: Any, data: DataSet) -> None:
    batches = prepare(data.first(2), resident.processor, 2)
    taught = teach(resident.model, resident.processor, batches, data.references)
    weight = next(resident.model.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(float("nan"))
        found = divergence(resident.model, taught)
        weight.copy_(kept)
    assert found != found


def test_a_segment_longer_than_the_window_is_refused_by_name(resident: Any, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16_000 * 31, dtype="float32"), 16_000)
    data = DataSet("x", "dev", "en-zh", (Segment("1", "t", path, "a", "b"),))
    with pytest.raises(UserError, match=r"long\.wav lasts 31\.0 s"):
        prepare(data, resident.processor, 1)


def test_a_text_model_given_speech_is_refused(data: DataSet) -> None:
    with pytest.raises(UserError, match="takes no audio"):
        prepare(data, object(), 1)


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, DataSet, Any, list[str]]:
    """The original, some speech in batches, and what it says in German, where the embedded vocabulary can shrink."""
    data = open_data("embedded", "dev", "en-de").first(COUNT)
    store = compress.Store(tmp_path_factory.mktemp("german"))
    resident = compress.Resident(compress.Source.open(embedded.MODEL), store)
    batches = prepare(data, resident.processor, COUNT)
    return resident, data, batches, translate(resident.model, resident.processor, batches, 48)


def smaller_of(resident: Any) -> Smaller:
    found = trimmed_vocabulary(resident.source, "scripts:en,de")
    assert found is not None
    return Smaller(found.ids.tolist(), load_processor(found.files), resident.processor)


def test_closeness_under_a_smaller_vocabulary_is_what_the_lost_tokens_had(german: Any) -> None:
    resident, _, batches, texts = german
    resident.restore()
    plain = teach(resident.model, resident.processor, batches, texts)
    smaller = smaller_of(resident)
    taught = teach(resident.model, resident.processor, batches, texts, smaller=smaller)
    assert len(smaller.ids) == 677 < resident.source.structure.vocabulary
    said = log_probs(resident.model, plain[0].inputs, plain[0].places, EncoderHook(resident.model, plain[0].batch))
    lost = -said[:, smaller.ids].logsumexp(-1).mean().item()
    policy = original_policy_of(resident, "scripts:en,de")
    resident.apply(policy)
    found = divergence(resident.model, taught)
    # The same weights say the same of what stays, so that only the mass of what goes is missing.
    assert found == pytest.approx(lost, abs=2e-6)
    assert 0 <= found < 0.01
    resident.apply(compress.Policy(policy.model, dict.fromkeys(policy.levels, "grid@1"), (), policy.vocabulary))
    assert divergence(resident.model, taught) > 0.1
    resident.restore()


def original_policy_of(resident: Any, vocabulary: str) -> compress.Policy:
    levels = dict.fromkeys(resident.source.structure.units, "raw:bf16")
    return compress.Policy(model=resident.source.digest, levels=levels, vocabulary=vocabulary)


def test_a_vocabulary_that_loses_nothing_gives_the_plain_closeness(german: Any) -> None:
    resident, _, batches, texts = german
    resident.restore()
    everything = range(resident.source.structure.vocabulary)
    smaller = Smaller(everything, resident.processor, resident.processor)
    taught = teach(resident.model, resident.processor, batches, texts, smaller=smaller)
    plain = teach(resident.model, resident.processor, batches, texts)
    assert all(torch.equal(a.inputs["input_ids"], b.inputs["input_ids"]) for a, b in zip(taught, plain, strict=True))
    assert all(torch.equal(a.places, b.places) for a, b in zip(taught, plain, strict=True))
    resident.apply(compress.Policy(resident.source.digest, dict.fromkeys(resident.source.structure.units, "grid@2")))
    assert divergence(resident.model, taught) == pytest.approx(divergence(resident.model, plain), rel=1e-5)
    resident.restore()


def test_a_token_that_goes_is_written_in_its_pieces_and_the_places_stay(german: Any) -> None:
    resident, _, batches, _ = german
    smaller = smaller_of(resident)
    chinese = ["模型翻译语音 and back" for _ in range(COUNT)]
    plain, before = append_translations(batches[0], resident.processor, chinese)
    inputs, places = respelled(batches[0], resident.processor, chinese, smaller)
    assert int(places.sum()) == int(before.sum()), "a place for each token of the original's"
    assert inputs["input_ids"].shape[1] > plain["input_ids"].shape[1]
    assert int(inputs["input_ids"].max()) < len(smaller.ids)
    row, mask = inputs["input_ids"][0], inputs["attention_mask"][0].bool()
    old, old_mask = plain["input_ids"][0], plain["attention_mask"][0].bool()
    assert smaller.tokenizer.decode(row[mask]) == resident.processor.tokenizer.decode(old[old_mask])
