"""The planned peaks against what layers of the real widths keep, counted on tensors without memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from compress.model.meta_model import build_meta_model
from compress.model.structure import read_structure
from evaluate.peak_memory import COMPLETION, Shapes, peaks, shapes
from tests.compress.model.test_structure import qwen2_audio
from tests.compress.tiny import find
from tests.needs import TRANSFORMERS_5

ROWS, GB = 4, 1e9


@pytest.fixture(scope="module")
def config() -> Any:
    return qwen2_audio()


@pytest.fixture(scope="module")
def model(config: Any) -> Any:
    return build_meta_model(config).to(torch.bfloat16).requires_grad_(False)  # as a resident is


@pytest.fixture(scope="module")
def shape(config: Any, model: Any) -> Shapes:
    return shapes(config, read_structure(model), itemsize=2)


def kept(model: Any, run: Callable[[], Any], steps: int) -> int:
    """Bytes that a pass keeps for its backward pass, weights aside, and the scores of attention, which the kernels of
    a GPU do not keep."""
    weights = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers())}
    stored: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        scores = value.dim() >= 3 and value.shape[-2:] == (steps, steps)
        if storage._cdata not in weights and not scores:
            stored[storage._cdata] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        run()
    return sum(stored.values())


def test_a_layer_of_the_language_model_keeps_what_is_planned(model: Any, shape: Shapes) -> None:
    layer, steps = model.get_decoder().layers[0], 256
    states = torch.empty(ROWS, steps, 4096, dtype=torch.bfloat16, device="meta", requires_grad=True)
    rotary = (torch.empty(1, steps, 128, dtype=torch.bfloat16, device="meta"),) * 2
    mask = torch.empty(ROWS, 1, steps, steps, dtype=torch.bool, device="meta")
    counted = kept(
        layer, lambda: layer(states, attention_mask=mask, position_embeddings=rotary, position_ids=None), steps
    )
    only_text = replace(shape, audio=None, text=replace(shape.text, steps=steps))
    assert 0.95 * counted <= ROWS * only_text.saved <= 1.3 * counted


def test_a_layer_of_the_encoder_keeps_what_is_planned(model: Any, shape: Shapes) -> None:
    layer = find(model, "audio_tower").layers[0]
    head_mask = () if TRANSFORMERS_5 else (None,)
    states = torch.empty(ROWS, 1500, 1280, dtype=torch.bfloat16, device="meta", requires_grad=True)
    mask = torch.zeros(ROWS, 1, 1500, 1500, dtype=torch.bfloat16, device="meta")
    counted = kept(layer, lambda: layer(states, mask, *head_mask), 1500)
    only_audio = replace(shape, text=replace(shape.text, steps=0))
    assert 0.95 * counted <= ROWS * only_audio.saved <= 1.3 * counted


def test_checkpoints_hold_the_inputs_of_all_layers(shape: Shapes) -> None:
    assert shape.text.inputs == 32 * shape.text.steps * 4096 * 2
    assert shape.audio is not None
    assert shape.audio.inputs == 32 * 1500 * 1280 * 2


def test_the_real_model_fits_on_eighty_gigabytes(shape: Shapes) -> None:
    """Importance by whole backward passes at batch 32 wanted 100 to 180 GB."""
    at_32 = peaks(shape, 32, 256, 80 * GB)
    assert all(shape.weights < value < 76 * GB for value in at_32.values()), at_32
    assert 15 * GB < shape.hessians < 40 * GB
    without_checkpoints = 32 * 32 * shape.saved
    assert shape.weights + without_checkpoints > 100 * GB


def test_peaks_grow_with_rows_and_never_with_less_memory(shape: Shapes) -> None:
    few, many = peaks(shape, 8, 256, 80 * GB), peaks(shape, 64, 256, 80 * GB)
    assert all(few[phase] <= many[phase] for phase in few)
    assert few["encode"] == many["encode"]
    small = peaks(shape, 8, 256, 40 * GB)
    assert all(small[phase] <= few[phase] for phase in few)
    assert few["divergence"] < few["translate"] + 8 * COMPLETION * shape.vocabulary * 16
