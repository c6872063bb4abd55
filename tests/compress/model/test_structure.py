"""The map of a model, to the last parameter, on full-size configs without weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from compress.errors import UserError
from compress.model.meta_model import build_meta_model
from compress.model.structure import Structure, read_structure
from compress.policy.recipes import recipe
from tests.compress.tiny import find

MODEL = "0" * 32


def qwen2_audio() -> Any:
    from transformers import Qwen2AudioConfig, Qwen2Config

    text = Qwen2Config(
        vocab_size=156032,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        tie_word_embeddings=False,
    )
    config = Qwen2AudioConfig(text_config=text.to_dict(), tie_word_embeddings=False)
    config.architectures = ["Qwen2AudioForConditionalGeneration"]
    return config


@pytest.fixture(scope="module")
def full() -> Structure:
    return read_structure(build_meta_model(qwen2_audio()))


def test_qwen2_audio_counts(full: Structure) -> None:
    assert full.parameters == 8_397_094_912
    assert [(s.name, s.length) for s in full.stacks] == [("audio", 32), ("lm", 32)]
    assert len(full.units) == 132
    assert {layer.parameters for layer in full.layers if layer.stack == "lm"} == {202_395_648}
    assert {layer.parameters for layer in full.layers if layer.stack == "audio"} == {19_676_160}
    assert full.unit("lm.7.attention").parameters == 67_121_152
    assert full.unit("lm.7.mlp").parameters == 135_266_304
    assert full.unit("projector").parameters == 5_246_976
    assert full.unit("embedding").parameters == full.unit("head").parameters == 639_107_072
    audio = [u for u in full.units.values() if u.name.startswith("audio")]
    positions_and_norms = 1500 * 1280 + 2 * 1280 + 32 * 4 * 1280
    assert sum(u.parameters for u in audio) + positions_and_norms == 636_968_960


def test_every_parameter_is_in_one_unit_or_kept(full: Structure) -> None:
    encoded = [t for unit in full.units.values() for t in unit.tensors]
    grouped = [t for names in full.groups.values() for t in names]
    assert len(encoded) == len(set(encoded))
    assert sorted(grouped) == sorted(full.unquantized)
    assert not set(encoded) & set(full.unquantized)
    kept_biases = {t for unit in full.units.values() for t in unit.unquantized}
    assert kept_biases <= set(full.unquantized)


def test_palomino_selects_96_linears_and_all_418(full: Structure) -> None:
    def linears(name: str) -> int:
        policy = recipe(name, full, MODEL)
        return sum(len(full.units[u].tensors) for u, level in policy.levels.items() if not level.startswith("raw"))

    assert linears("mlp-q2") == linears("mlp-q3") == linears("mlp-prune-q2") == 96
    assert linears("global-q2") == 418
    assert linears("fp16") == 0
    assert linears("int8") == 417  # bitsandbytes leaves the head alone


def test_moslem_drops_eight_and_names_them(full: Structure) -> None:
    assert recipe("moslem-de", full, MODEL).dropped == tuple(f"lm.{i}" for i in (1, 3, 9, 13, 19, 20, 27, 29))
    assert len(recipe("moslem-zh", full, MODEL).dropped) == 8


@pytest.mark.parametrize("layers", [30, 31, 33])
def test_moslems_layers_are_those_of_a_model_of_32(full: Structure, layers: int) -> None:
    stack = [layer for layer in full.layers if layer.stack == "lm"]
    kept = [layer for layer in full.layers if layer.stack != "lm" or layer.index < layers]
    more = [replace(stack[-1], name=f"lm.{n}", index=n) for n in range(32, layers)]
    with pytest.raises(UserError, match=f"of a model of 32; this one has {layers}"):
        recipe("moslem-de", replace(full, layers=(*kept, *more)), MODEL)


def test_diet_is_near_its_published_size(full: Structure) -> None:
    from compress.codecs import codec
    from compress.codecs.grid.grid import Grid

    policy = recipe("diet", full, MODEL)
    nbytes = 0.0
    for unit, level in policy.levels.items():
        grid = codec(level)
        assert isinstance(grid, Grid)
        nbytes += grid.rate * full.units[unit].weights / 8
    assert nbytes == pytest.approx(3.98e9, rel=0.03)


def test_aya_has_one_norm_a_layer_and_tied_embeddings() -> None:
    from transformers import CohereConfig

    config = CohereConfig(
        vocab_size=256000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    config.architectures = ["CohereForCausalLM"]
    structure = read_structure(build_meta_model(config))
    assert structure.parameters == 8_028_033_024
    assert structure.tied
    assert "head" not in structure.units
    assert all(len(layer.unquantized) == 1 for layer in structure.layers)
    assert [(s.name, s.length) for s in structure.stacks] == [("lm", 32)]


def test_llama_and_qwen_read_alike() -> None:
    from transformers import LlamaConfig, Qwen2Config

    for kind, architecture in ((LlamaConfig, "LlamaForCausalLM"), (Qwen2Config, "Qwen2ForCausalLM")):
        config = kind(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4)
        config.architectures = [architecture]
        structure = read_structure(build_meta_model(config))
        assert [layer.name for layer in structure.layers] == ["lm.0", "lm.1", "lm.2"]
        assert set(structure.units) >= {"lm.0.attention", "lm.2.mlp", "embedding", "head"}
        assert len(structure.unit("lm.1.mlp").tensors) == 3


def test_whisper_has_an_encoder_and_a_decoder() -> None:
    from transformers import WhisperConfig

    config = WhisperConfig(
        encoder_layers=2,
        decoder_layers=3,
        d_model=32,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    config.architectures = ["WhisperForConditionalGeneration"]
    structure = read_structure(build_meta_model(config))
    assert {s.name: s.length for s in structure.stacks} == {"audio": 2, "lm": 3}
    assert len(structure.unit("lm.0.attention").tensors) == 8  # self-attention and cross-attention
    assert structure.unit("audio.conv").kind == "conv"


class _Nested(nn.Module):
    """The module tree of transformers 5.10 and later, which nests everything one deeper."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.audio_tower = find(model, "audio_tower")
        self.model.multi_modal_projector = find(model, "multi_modal_projector")
        self.model.language_model = model.get_decoder()
        self.lm_head = find(model, "lm_head")

    def get_input_embeddings(self) -> nn.Module:
        return self.model.language_model.embed_tokens  # type: ignore[union-attr,return-value]

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


def test_the_tree_of_later_transformers_gives_the_same_units(full: Structure) -> None:
    nested = read_structure(_Nested(build_meta_model(qwen2_audio())))
    assert set(nested.units) == set(full.units)
    assert nested.parameters == full.parameters
    assert {n: u.shapes for n, u in nested.units.items()} == {n: u.shapes for n, u in full.units.items()}


def test_what_is_not_there_is_named(full: Structure) -> None:
    with pytest.raises(UserError, match=r"no unit 'lm\.99\.mlp'"):
        full.unit("lm.99.mlp")
    with pytest.raises(UserError, match=r"no layer 'lm\.32'"):
        recipe("drop:32", full, MODEL)


def test_a_model_of_one_matrix_has_no_layers() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

    structure = read_structure(One())
    assert structure.layers == ()
    assert [unit.kind for unit in structure.units.values()] == ["projector"]
