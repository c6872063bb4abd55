"""Translating with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.errors import UserError
from evaluate.data.open import open_data
from evaluate.data.types import DataSet, Segment
from evaluate.decoding.batches import prepare, split_batches
from evaluate.decoding.generate import translate

COUNT = 6


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data("embedded", "dev", "en-zh").first(COUNT)


def run(resident: Any, data: DataSet, size: int) -> list[str]:
    return translate(resident.model, resident.processor, prepare(data, resident.processor, size), 48)


@pytest.fixture(scope="module")
def whole(embedded_resident: Any, data: DataSet) -> list[str]:
    """The translations in one batch."""
    embedded_resident.restore()
    return run(embedded_resident, data, COUNT)


def test_output_does_not_depend_on_batch_size_and_keeps_the_order(
    resident: Any, data: DataSet, whole: list[str]
) -> None:
    assert run(resident, data, 1) == run(resident, data, 4) == whole
    assert len(set(whole)) == COUNT


def test_it_translates(data: DataSet, whole: list[str]) -> None:
    from evaluate.metrics.mt import chrf

    assert chrf(whole, data.references) > 80


def test_out_of_memory_halves_the_batch_and_goes_on(
    resident: Any, data: DataSet, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = resident.model.generate
    sizes: list[int] = []

    def short_of_memory(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("no room")
        return generate(**inputs)

    monkeypatch.setattr(resident.model, "generate", short_of_memory)
    texts = translate(
        resident.model, resident.processor, prepare(data, resident.processor, COUNT), 48, use_generate=True
    )
    assert texts == whole
    assert max(sizes) == COUNT
    assert min(sizes) <= 3


def test_pieces_hold_the_whole(resident: Any, data: DataSet) -> None:
    batch = prepare(data, resident.processor, COUNT)[0]
    left, right = split_batches([batch], COUNT - 2)
    assert left.indices + right.indices == batch.indices
    assert torch.equal(torch.cat([left.inputs["input_ids"], right.inputs["input_ids"]]), batch.inputs["input_ids"])
    assert split_batches([batch], COUNT) == [batch]
    rest = split_batches([batch], COUNT, without=batch.indices[1:])
    assert [piece.indices for piece in rest] == [batch.indices[:1]]


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
