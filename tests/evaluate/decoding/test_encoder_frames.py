"""The encoder on fewer frames: the same states, and nothing of it stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.tensors import to_model
from evaluate.data.open import open_data
from evaluate.decoding.batches import prepare
from evaluate.decoding.encoder_cache import EncoderHook, find_encoder
from evaluate.decoding.encoder_frames import frames_needed, window_of


@pytest.fixture(scope="module")
def batches(embedded_resident: Any) -> Any:
    embedded_resident.restore()
    return prepare(open_data("embedded", "dev", "en-zh").first(6), embedded_resident.processor, 3)


def logits(model: Any, batch: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(**to_model(batch.inputs, model)).logits
    return result[batch.inputs["attention_mask"].bool()]


def test_logits_agree_and_fewer_frames_are_computed(resident: Any, batches: Any) -> None:
    encoder, frames = find_encoder(resident.model), list[int]()
    hook = encoder.layers[0].register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0].shape[1]))
    for batch in batches:
        whole = logits(resident.model, batch)
        with EncoderHook(encoder):
            short = logits(resident.model, batch)
        torch.testing.assert_close(short, whole, rtol=1e-4, atol=1e-4)
        assert frames[-1] < frames[-2] == encoder.config.max_source_positions
        longest = int(batch.inputs["feature_attention_mask"].sum(-1).max() - 1) // 2 + 1
        assert longest < frames[-1] <= longest + 8
    hook.remove()


def test_states_of_speech_do_not_depend_on_how_many_frames_are_kept(resident: Any, batches: Any) -> None:
    """With one frame too few they would: the test would notice a margin that is too small."""
    encoder, batch = find_encoder(resident.model), batches[0]
    longest = int(batch.inputs["feature_attention_mask"].sum(-1).max() - 1) // 2 + 1
    features = batch.inputs["input_features"]

    def states(frames: int) -> torch.Tensor:
        mask = torch.zeros(len(features), 1, frames, frames)
        mask[:, :, :, longest:] = float("-inf")
        with torch.inference_mode(), window_of(encoder, frames):
            result: torch.Tensor = encoder(features[..., : 2 * frames], attention_mask=mask).last_hidden_state
        return result[:, : longest // 2]

    even = longest + longest % 2
    torch.testing.assert_close(states(even + 2), states(encoder.config.max_source_positions), rtol=1e-4, atol=1e-4)
    if longest % 2 == 0:
        assert (states(even) - states(even + 2)).abs().max() > 1e-3


def test_other_encoders_and_full_windows_run_as_they_are(resident: Any) -> None:
    encoder = find_encoder(resident.model)
    mask = torch.zeros(2, 1, 150, 150)
    assert frames_needed(encoder, mask) is None
    assert frames_needed(torch.nn.Linear(2, 2), mask) is None
    assert frames_needed(encoder, None) is None
    mask[:, :, :, 20:] = float("-inf")
    assert frames_needed(encoder, mask) == 24


def test_a_window_is_put_back_after_an_error(resident: Any) -> None:
    encoder = find_encoder(resident.model)
    before = encoder.embed_positions
    with pytest.raises(ValueError, match="expects the mel"), window_of(encoder, 16):
        encoder(torch.zeros(1, 40, 300))
    assert encoder.embed_positions is before
    assert encoder.config.max_source_positions == 150
