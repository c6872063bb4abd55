"""Artifacts and recoveries of earlier versions stay readable, with the same bytes, figures and tensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

import compress
from compress.artifact.manifest import MANIFEST
from compress.codecs.lossless import zstd_decode
from compress.model.source import bare_name

BEFORE = Path(__file__).resolve().parents[1] / "data" / "before"


def digest(value: torch.Tensor) -> str:
    data = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(f"{value.dtype}{tuple(value.shape)}".encode() + data, digest_size=16).hexdigest()


@pytest.mark.parametrize("name", ["artifact", "adapted"])
def test_an_artifact_verifies_and_decodes_as_before(name: str) -> None:
    report = json.loads(json.dumps(compress.verify(BEFORE / name).to_dict()))
    reported_before = json.loads((BEFORE / "inspect.json").read_text(encoding="utf-8"))[name]
    del reported_before["bin"]  # bins of small models were not scaled then
    assert {key: report[key] for key in reported_before} == reported_before
    tensors = {bare_name(name): digest(value) for name, value in compress.Artifact.open(BEFORE / name).tensors()}
    before = json.loads((BEFORE / "tensors.json").read_text(encoding="utf-8"))[name]
    assert tensors == {bare_name(name): value for name, value in before.items()}


@pytest.mark.parametrize("name", ["artifact", "adapted"])
def test_an_artifact_loads_and_generates(name: str) -> None:
    model, processor = compress.load(BEFORE / name)
    prompt = processor.tokenizer("Translate this.", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=2).shape[1] > prompt["input_ids"].shape[1]


@pytest.mark.parametrize("name", ["artifact", "adapted"])
def test_a_manifest_is_written_again_with_the_same_content(name: str) -> None:
    written, again = (BEFORE / name / MANIFEST).read_bytes(), compress.Artifact.open(BEFORE / name).manifest.to_bytes()
    assert zstd_decode(again, 1 << 20) == zstd_decode(written, 1 << 20)


def test_a_recovery_is_read() -> None:
    recovery = compress.RecoveryDelta.read(BEFORE / "recovery")
    assert list(recovery.unquantized) == ["language_model.model.layers.2.input_layernorm.weight"]
    adapter = recovery.adapters["lm.3.attention"]
    assert (adapter.level, adapter.rank) == ("raw:bf16", 2)
    assert recovery.about == {"method": "test"}
    assert recovery.policy == compress.Artifact.open(BEFORE / "artifact").policy
