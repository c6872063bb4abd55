"""Structured pruning of MLPs: the seed's score, the seed's count, and models that work with smaller MLPs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.artifact.artifact import load
from compress.codecs import codec, encode
from compress.errors import UserError
from compress.model.source import Source
from compress.pack import pack
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.resident import Resident
from compress.unpack import unpack
from tests.compress.tiny import inputs

ROLES = ("gate_proj", "up_proj", "down_proj")


def gated(hidden: int, neurons: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(neurons, hidden), (neurons, hidden), (hidden, neurons)]
    return [torch.randn(shape, generator=generator) * 0.05 for shape in shapes]


def test_the_seed_keeps_8807_of_11008_neurons() -> None:
    shapes = [(11008, 8), (11008, 8), (8, 11008)]
    smaller = codec("ffn:0.8+digits:2")._smaller(shapes)  # type: ignore[attr-defined]
    assert smaller == [(8807, 8), (8807, 8), (8, 8807)]


def test_the_neurons_of_lowest_score_go() -> None:
    gate, up, down = gated(16, 40)
    score = gate.abs().mean(1) + up.abs().mean(1) + down.abs().mean(0)
    stay = torch.topk(score, 32).indices.sort().values
    level = codec("ffn:0.8+raw:fp32")
    payload = level.encode([gate, up, down], [None] * 3, ROLES)
    back = level.decode(payload, [(40, 16), (40, 16), (16, 40)], torch.float32)
    for value, wanted in zip(back, [gate[stay], up[stay], down[:, stay]], strict=True):
        assert torch.equal(value, wanted)


@pytest.mark.parametrize("some", [False, True])
def test_pruned_models_agree_wherever_they_are(some: bool, folder: Path, store_folder: Path, tmp_path: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    source, store = Source.open(folder), Store(store_folder)
    policy = recipe("mlp-prune-q2", source.structure, source.digest)
    if some:
        policy = Policy(source.digest, {**policy.levels, "lm.1.mlp": "grid@3"})
    packed = pack(source, policy, store, tmp_path / "art")
    assert Ledger(source, store, ["raw:fp16"]).predict(policy) == packed
    loaded, processor = load(tmp_path / "art")
    resident = Resident(source, store)
    batch = inputs(processor)
    with torch.no_grad():
        before = resident.model(**batch).logits
        resident.apply(policy)
        pruned = resident.model(**batch).logits
        assert torch.equal(pruned, loaded(**batch).logits)
        assert not torch.equal(pruned, before)
        resident.restore()
        assert torch.equal(resident.model(**batch).logits, before)
    assert {m.out_features for n, m in loaded.named_modules() if n.endswith("0.mlp.gate_proj")} == {103}

    unpack(tmp_path / "art", tmp_path / "plain", torch.float32)
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "plain", dtype=torch.float32).eval()
    assert plain.config.text_config.intermediate_size == (128 if some else 103)
    with torch.no_grad():
        assert torch.allclose(plain(**batch).logits, pruned, atol=1e-5)


@pytest.mark.parametrize("level", ["ffn:0+digits:2", "ffn:1+digits:2", "ffn:0.5", "ffn:0.5+ffn:0.5+nf4", "ffn:0.5+x"])
def test_levels_that_are_none(level: str) -> None:
    with pytest.raises(UserError):
        codec(level)


def test_a_single_matrix_has_no_neurons() -> None:
    with pytest.raises(UserError, match="gated MLP"):
        encode(torch.randn(64, 64), "ffn:0.8+digits:2")
