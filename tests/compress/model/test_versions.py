"""What must hold under transformers 4 and 5 alike: names, digests, ties, rotary settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import embedded
from compress.errors import UserError
from compress.model.meta_model import build_meta_model, config_from_dict
from compress.model.saving import save_checkpoint
from compress.model.source import Source
from compress.model.structure import read_structure
from tests.needs import TRANSFORMERS_5


def test_the_digest_of_a_model_does_not_depend_on_the_version() -> None:
    """Policies and calibrations hold it."""
    assert Source.open(embedded.MODEL).digest == "6849ed60063ae7ab1f1b217c5d89f9f9"


def test_the_units_of_an_artifact_have_one_order() -> None:
    """transformers 4 registers Voxtral's head before its projector, 5 after it."""
    from transformers import VoxtralConfig

    audio = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = VoxtralConfig(
        audio_config=audio | {"num_mel_bins": 16, "vocab_size": 64, "max_source_positions": 32},
        text_config=text | {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64, "model_type": "llama"},
        architectures=["VoxtralForConditionalGeneration"],
    )
    names = list(read_structure(build_meta_model(config)).units)
    layers = [f"{stack}.0.{part}" for stack in ("audio", "lm") for part in ("attention", "mlp")]
    assert names == ["audio.conv", *layers[:2], "embedding", *layers[2:], "projector", "head"]


def test_saved_names_are_those_of_transformers_4(folder: Path, tmp_path: Path) -> None:
    model = build_meta_model(Source.open(folder).config).to_empty(device="cpu")
    save_checkpoint(model, tmp_path)
    names = {name.replace(".model.model.", ".model.") for name in load_file(folder / "model.safetensors")}
    assert set(load_file(tmp_path / "model.safetensors")) == names
    assert "language_model.model.layers.0.mlp.up_proj.weight" in load_file(tmp_path / "model.safetensors")


def test_a_stored_weight_without_a_place_is_refused(folder_copy: Path) -> None:
    """transformers would leave it out, and compute something else."""
    tensors = load_file(folder_copy / "model.safetensors")
    tensors["language_model.model.layers.0.mlp.up_proj.bias"] = torch.zeros(4)
    save_file(tensors, folder_copy / "model.safetensors")
    with pytest.raises(UserError, match=r"up_proj\.bias.* has no place in the model"):
        Source.open(folder_copy)


def test_a_stored_head_that_the_config_ties_must_be_a_copy(folder_copy: Path) -> None:
    raw = json.loads((folder_copy / "config.json").read_text())
    raw["tie_word_embeddings"] = raw["text_config"]["tie_word_embeddings"] = True
    (folder_copy / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="tie_word_embeddings"):
        Source.open(folder_copy)
    tensors = load_file(folder_copy / "model.safetensors")
    head = next(name for name in tensors if name.endswith("lm_head.weight"))
    embedding = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[head] = tensors[embedding].clone()
    save_file(tensors, folder_copy / "model.safetensors")
    source = Source.open(folder_copy)
    assert source.structure.tied
    assert "head" not in source.structure.units


def rope(config: Any) -> tuple[float, Any]:
    text = config.get_text_config()
    if TRANSFORMERS_5:
        parameters = dict(text.rope_parameters)
        return parameters.pop("rope_theta"), None if parameters["rope_type"] == "default" else parameters["factor"]
    return text.rope_theta, text.rope_scaling and text.rope_scaling["factor"]


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"rope_type": "default", "rope_theta": 54321.0}, (54321.0, None)),
        ({"rope_type": "linear", "factor": 2.0, "rope_theta": 777.0}, (777.0, 2.0)),
    ],
)
def test_rotary_settings_of_transformers_5_are_read(folder: Path, parameters: Any, wanted: Any) -> None:
    """Under transformers 4 they would be ignored for the default, 10,000."""
    raw = json.loads((folder / "config.json").read_text())
    for key in ("rope_theta", "rope_scaling", "rope_parameters"):
        raw["text_config"].pop(key, None)
    raw["text_config"]["rope_parameters"] = parameters
    assert rope(config_from_dict(raw)) == wanted


@pytest.mark.skipif(TRANSFORMERS_5, reason="transformers 5 knows them")
@pytest.mark.parametrize("parameters", ["x", {"rope_type": 3}, {"full_attention": {"rope_theta": 1.0}}])
def test_rotary_settings_that_transformers_4_does_not_know_are_refused(folder: Path, parameters: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    raw["text_config"]["rope_parameters"] = parameters
    with pytest.raises(UserError, match=r"config\.json"):
        config_from_dict(raw)


@pytest.fixture
def folder_copy(folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "model"))
