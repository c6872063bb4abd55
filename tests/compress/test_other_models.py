"""Other kinds of model go through the same code: text LLMs of the Llama and Cohere kind, and Whisper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.artifact.artifact import load
from compress.calibration.calibrate import calibrate
from compress.model.source import Source
from compress.pack import pack
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.resident import Resident
from compress.unpack import unpack
from tests.compress.tiny import tiny_tokenizer


def text_model(kind: str, folder: Path) -> Any:
    import transformers

    tokenizer = tiny_tokenizer(folder)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), num_hidden_layers=3, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id, **shape,
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16)
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Cohere"])
def test_text_models(kind: str, tmp_path: Path) -> None:
    text_model(kind, tmp_path / "model")
    source, store = Source.open(tmp_path / "model"), Store(tmp_path / "store")
    resident = Resident(source, store)
    batch = dict(resident.processor(["Das Modell übersetzt.", "模型"], return_tensors="pt", padding=True))
    batch.pop("token_type_ids", None)
    digest = calibrate(source, [batch], store, target_masks=[batch["attention_mask"].bool()], resident=resident)
    levels = recipe("uniform:grid@3", source.structure, source.digest).levels
    policy = Policy(source.digest, levels, ("lm.1",), "scripts:en,de", digest)
    packed = pack(source, policy, store, tmp_path / "art")
    assert Ledger(source, store, ["grid@3"], digest).predict(policy) == packed
    loaded, tokenizer = load(tmp_path / "art")
    resident.apply(policy)
    small = dict(tokenizer(["Das Modell übersetzt."], return_tensors="pt"))
    small.pop("token_type_ids", None)
    with torch.no_grad():
        assert torch.equal(loaded(**small).logits, resident.model(**small).logits)
    assert loaded.generate(**small, max_new_tokens=3).shape[1] > small["input_ids"].shape[1]
    unpack(tmp_path / "art", tmp_path / "plain")
    import transformers

    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert plain.config.num_hidden_layers == 2


def test_whisper_loses_layers_on_both_sides(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = WhisperConfig(
        vocab_size=200, encoder_layers=3, decoder_layers=3, d_model=32, num_mel_bins=16, max_source_positions=50,
        max_target_positions=30, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, **sizes,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "model")
    source = Source.open(tmp_path / "model")
    policy = recipe("drop:0,audio.1,audio.2", source.structure, source.digest)
    pack(source, policy, None, tmp_path / "art")
    loaded, processor = load(tmp_path / "art")
    assert processor is None
    assert (loaded.config.encoder_layers, loaded.config.decoder_layers) == (1, 2)
    with torch.no_grad():
        out = loaded(input_features=torch.randn(1, 16, 100), decoder_input_ids=torch.tensor([[3, 4]]))
    assert out.logits.shape == (1, 2, 200)
    resident = Resident(source, Store(tmp_path / "store"))
    resident.apply(policy)
    resident.restore()
    assert (resident.model.config.encoder_layers, resident.model.config.decoder_layers) == (3, 3)
