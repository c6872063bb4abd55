"""What towers heard: the very same losses and hidden states with the sound and without it, and who may listen again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress
from compress.recovery.batches import output_of, pieces, placed
from evaluate.data.open import open_data
from evaluate.decoding.encoder_cache import find_encoder
from search.recovery import encoder_states
from search.recovery.data import lessons_of
from tests.compress.tiny import save_tiny
from tests.search.recovery.speech import manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> compress.Resident:
    folder = tmp_path_factory.mktemp("hearing")
    return compress.Resident(compress.Source.open(save_tiny(folder / "tiny")), compress.Store(folder / "store"))


@pytest.fixture(scope="module")
def lessons(model: compress.Resident, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    data = open_data(manifest(tmp_path_factory.mktemp("speech")), "train", "en-de")
    return lessons_of(data, model.processor, 3)


def deafened(model: Any, batches: Any, name: str) -> tuple[encoder_states.WithEncoderStates, Any]:
    known = encoder_states.cached_outputs(model, batches)
    assert known is not None
    (parts,) = encoder_states.without_features(encoder_states.with_states([batches], known, name))
    return encoder_states.WithEncoderStates(model, name, known), parts


@pytest.mark.parametrize("name", [encoder_states.OF_STUDENT, encoder_states.OF_TEACHER])
def test_states_stand_in_for_the_sound(name: str, model: compress.Resident, lessons: Any) -> None:
    listener, parts = deafened(model.model, lessons, name)
    tower, calls = find_encoder(model.model), []
    handle = tower.conv1.register_forward_hook(lambda *_: calls.append(1))
    try:
        for one, deaf in zip(lessons, parts, strict=True):
            assert not bool(deaf[encoder_states.FEATURES].any())
            for real, piece in zip(pieces(one, 2), pieces(deaf, 2), strict=True):
                calls.clear()
                with torch.no_grad():
                    wanted = output_of(model.model, placed(real, model.model), states=True)
                    assert calls
                    calls.clear()
                    found = output_of(listener, placed(piece, listener), states=True)
                assert not calls
                counts = piece["attention_mask"].bool()
                assert torch.allclose(found.logits[counts], wanted.logits[counts], atol=1e-5)
                for mine, its in zip(found.hidden_states, wanted.hidden_states, strict=True):
                    assert torch.allclose(mine[counts], its[counts], atol=1e-5)
    finally:
        handle.remove()


def test_a_listener_without_states_listens_itself(model: compress.Resident, lessons: Any) -> None:
    known = encoder_states.cached_outputs(model.model, lessons)
    assert known is not None
    (parts,) = encoder_states.with_states([lessons], known, encoder_states.OF_TEACHER)
    student = encoder_states.WithEncoderStates(model.model, encoder_states.OF_STUDENT, None)
    with torch.no_grad():
        assert torch.equal(output_of(student, parts[0]).logits, output_of(model.model, lessons[0]).logits)


def test_towers_that_differ_are_told_apart(model: compress.Resident, lessons: Any) -> None:
    first = encoder_states.digest(model.model)
    assert encoder_states.cached_outputs(model.model, lessons) is not None
    weight = find_encoder(model.model).layers[0].fc1.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
    assert encoder_states.digest(model.model) != first
    changed = encoder_states.cached_outputs(model.model, lessons)
    with torch.no_grad():
        weight.copy_(before)
    again = encoder_states.cached_outputs(model.model, lessons)
    assert changed is not None
    assert again is not None
    assert not torch.equal(changed[0][0].states, again[0][0].states)


def test_who_trains_its_tower_hears_it_anew(model: compress.Resident) -> None:
    named = dict(model.model.named_parameters())
    inside = [value for name, value in named.items() if "audio_tower" in name]
    assert encoder_states.encoder_trains(model.model, inside[:1])
    assert not encoder_states.encoder_trains(model.model, [v for n, v in named.items() if "audio_tower" not in n])


def test_too_much_and_text_are_not_kept(
    model: compress.Resident, lessons: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encoder_states, "MOST_BYTES", 100)
    assert encoder_states.encode(model.model, lessons) is None
    from tests.search.recovery.test_systems import text_model

    text = compress.Resident(compress.Source.open(text_model(tmp_path / "text")), compress.Store(tmp_path / "s"))
    assert encoder_states.cached_outputs(text.model, [{"input_ids": torch.ones(1, 2, dtype=torch.long)}]) is None
    assert encoder_states.digest(text.model) == ""
