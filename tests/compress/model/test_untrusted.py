"""A stranger's JSON files make transformers load nothing but what lies in the folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

import compress
from compress.artifact.assemble import load_processor, prepare_model
from compress.errors import UserError
from compress.model.aux_files import read_aux_files
from compress.model.meta_model import build_meta_model, config_from_dict
from compress.model.untrusted import (
    LOADING_KEYS,
    is_loading_key,
    without_decoding_settings,
    without_loading_keys,
)
from tests.needs import TRANSFORMERS_5

HOSTILE = {
    "_attn_implementation": "evil/kernel",
    "attn_implementation": {"": "evil/kernel", "text_config": "evil/kernel"},
    "auto_map": {"AutoConfig": "evil--evil.Config"},
    "use_kernels": True,
    "backbone": "evil/backbone",
    "use_pretrained_backbone": True,
    "audio_tokenizer": {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "evil/codec"},
    "custom_pipelines": {"evil": {"impl": "evil.Pipeline"}},
}
KEYS = [*LOADING_KEYS, "attn_implementation", "experts_implementation", "attn_implementation_internal"]
names = st.sampled_from([*KEYS, *("_" + key for key in KEYS), "text_config", "layers"])
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda v: st.lists(v) | st.dictionaries(names, v)
)

KERNEL_LOADER_4 = "modeling_utils.load_and_register_kernel"


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    return {key for inner in value for key in keys_of(inner)} if isinstance(value, list) else set()


@given(values)
def test_none_of_the_keys_is_left_at_any_depth(value: Any) -> None:
    left = keys_of(without_loading_keys(value))
    assert not {key.lstrip("_") for key in left} & set(KEYS)
    assert left <= keys_of(value)


def test_what_transformers_reads_from_configs_to_load_code_is_among_them() -> None:
    """Its own source says which keys: those that it hands to the hub's code and kernels."""
    root = Path(transformers.__file__).parent
    read = (root / "utils" / "backbone_utils.py").read_text() + (root / "processing_utils.py").read_text()
    read += (root / "models" / "auto" / "configuration_auto.py").read_text()
    expected = {"audio_tokenizer"}
    if not TRANSFORMERS_5:  # reads the others no longer
        expected |= {"use_timm_backbone", "use_pretrained_backbone", "backbone", "backbone_kwargs"}
    assert expected <= set(re.findall(r"[a-z_]+", read))
    assert "auto_map" in read
    assert all(
        map(is_loading_key, expected | {"auto_map", "attn_implementation", "_attn_implementation", "use_kernels"})
    )


@pytest.fixture
def hostile(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    for name in ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (copy / name).exists():
            table = json.loads((copy / name).read_text())
            for inner in [table, *(value for value in table.values() if isinstance(value, dict))]:
                inner |= HOSTILE
            (copy / name).write_text(json.dumps(table))
    return copy


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was asked of the hub."""
    asked: list[str] = []

    def refuse(name: str, *_: Any, **__: Any) -> Any:
        asked.append(str(name))
        raise OSError(f"the hub was asked for {name}")

    loader = "integrations.hub_kernels.load_and_register_attn_kernel" if TRANSFORMERS_5 else KERNEL_LOADER_4
    monkeypatch.setattr(f"transformers.{loader}", refuse)
    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", refuse)
    monkeypatch.setattr("transformers.dynamic_module_utils.get_cached_module_file", refuse)
    return asked


def test_a_hostile_model_loads_without_the_hub(hostile: Path, folder: Path, no_hub: list[str]) -> None:
    source = compress.Source.open(hostile)
    for config in (source.config, *(getattr(source.config, n) for n in ("text_config", "audio_config"))):
        assert config._attn_implementation in (None, "sdpa", "eager")
        assert not hasattr(config, "auto_map")
    model = build_meta_model(source.config)
    assert "evil" not in str(model.config)
    assert load_processor(read_aux_files(hostile)) is not None
    resident = compress.Resident(source, compress.Store(hostile / "store"))
    assert type(resident.model) is type(compress.Resident(compress.Source.open(folder), resident.store).model)
    assert no_hub == []


def test_the_hub_would_have_been_asked_without_the_filter(hostile: Path, no_hub: list[str]) -> None:
    """The control: transformers itself does what the file says."""
    raw = json.loads((hostile / "config.json").read_text())
    raw = {key: value for key, value in raw.items() if key not in HOSTILE} | {"_attn_implementation": "evil/kernel"}
    config = transformers.Qwen2AudioConfig.from_dict(raw)
    with pytest.raises(UserError):
        build_meta_model(config)
    assert no_hub == ["evil/kernel"]


def test_a_quantized_part_is_refused(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    raw["text_config"]["quantization_config"] = {"quant_method": "evil"}
    with pytest.raises(UserError, match="quantized already"):
        config_from_dict(raw)


def test_a_class_of_another_kind_of_model_is_not_used(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    raw["architectures"] = ["DetrForObjectDetection"]
    if TRANSFORMERS_5:  # knows the class by the model type
        assert type(build_meta_model(config_from_dict(raw))) is transformers.Qwen2AudioForConditionalGeneration
        return
    with pytest.raises(UserError, match="names no architecture"):
        build_meta_model(config_from_dict(raw))


def test_a_class_that_fetches_another_model_by_default_is_refused(no_hub: list[str]) -> None:
    raw = {"model_type": "detr", "architectures": ["DetrForObjectDetection"]}
    if TRANSFORMERS_5:  # builds its own backbone from the config
        config_from_dict(raw)
    else:
        with pytest.raises(UserError, match="around another one"):
            config_from_dict(raw)
    assert no_hub == []


EXPENSIVE: dict[str, Any] = {
    "num_beams": 100_000,
    "num_return_sequences": 1000,
    "max_new_tokens": 10**9,
    "use_cache": False,
}
EXPENSIVE |= {"prompt_lookup_num_tokens": 5, "penalty_alpha": 0.6, "do_sample": True, "stop_strings": ["a"] * 1000}


@pytest.mark.parametrize("where", ["generation_config.json", "config.json"])
def test_how_a_model_is_decoded_is_not_for_its_files_to_say(where: str) -> None:
    config = {"model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 32, "eos_token_id": 7}
    config |= {"intermediate_size": 16, "num_attention_heads": 1, "num_key_value_heads": 1}
    files = {"generation_config.json": json.dumps({**EXPENSIVE, "eos_token_id": 7, "suppress_tokens": [3]}).encode()}
    if where == "config.json":
        config, files = config | EXPENSIVE, {}
    model: Any = build_meta_model(config_from_dict(config)).to_empty(device="cpu")
    prepare_model(model, "cpu", files)
    plain = transformers.GenerationConfig().to_dict()
    assert {name: model.generation_config.to_dict()[name] for name in EXPENSIVE if name in plain} == {
        name: plain[name] for name in EXPENSIVE if name in plain
    }
    assert model.generation_config.eos_token_id == 7, "what its tokens mean is"
    assert model.generation_config.suppress_tokens == (None if where == "config.json" else [3])
    tokens = model.generate(input_ids=torch.tensor([[1, 2]]), do_sample=False, max_new_tokens=3)
    assert tokens.shape[0] == 1
    assert tokens.shape[1] <= 5


def test_what_says_how_to_decode_is_among_what_is_left_out() -> None:
    """Of all the entries that transformers knows, those kept name tokens or weigh them."""
    known = set(transformers.GenerationConfig().to_dict())
    kept = set(without_decoding_settings(dict.fromkeys(known, 1)))
    assert not {name for name in kept if re.search("beam|sample|sequences|cache|length|time|assist|lookup", name)}
    assert {"eos_token_id", "suppress_tokens", "repetition_penalty"} <= kept
    assert without_decoding_settings({"max_new_tokens": 256}) == {"max_new_tokens": 256}, "for a plain `generate`"
    assert without_decoding_settings({"max_new_tokens": 10**9}) == {}
