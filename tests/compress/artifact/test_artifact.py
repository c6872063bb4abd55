"""An artifact weighs what was promised, and holds what the policy in memory says, bit for bit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from compress.artifact.artifact import load
from compress.errors import UserError
from compress.inspect import inspect
from compress.model.source import Source
from compress.model.structure import Structure
from compress.pack import pack
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.policy.variant import build
from compress.resident import Resident
from compress.sizes import bin_of
from compress.unpack import unpack
from compress.verify import verify
from tests.compress.tiny import inputs, save_tiny

LEVELS = (
    "raw:bf16",
    "raw:fp16",
    "int8",
    "nf4",
    "digits:2",
    "digits:3",
    "rtn:3:g16",
    "grid@4",
    "grid@2.5",
    "grid@1",
    "grid@2:trellis",
)


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return Source.open(folder)


@pytest.fixture(scope="module")
def store(source: Source, store_folder: Path) -> Store:
    store = Store(store_folder)
    for unit in source.structure.units:
        for level in LEVELS:
            build(source, unit, level, store)
    return store


@pytest.fixture(scope="module")
def ledger(source: Source, store: Store) -> Ledger:
    return Ledger(source, store, LEVELS)


def random_policy(structure: Structure, model: str, seed: int) -> Policy:
    rng = random.Random(seed)
    dropped = tuple(layer.name for layer in structure.layers if layer.index and rng.random() < 0.3)
    return Policy(model=model, levels={u: rng.choice(LEVELS) for u in structure.units}, dropped=dropped)


def disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("seed", range(12))
def test_predicted_packed_and_on_disk_are_one_number(
    seed: int, source: Source, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    policy = random_policy(source.structure, source.digest, seed)
    packed = pack(source, policy, store, tmp_path / "art")
    assert ledger.predict(policy) == packed == disk_bytes(tmp_path / "art")


@pytest.mark.parametrize("name", ["fp16", "int8", "mlp-q3", "mlp-q2", "global-q2", "drop:1,3", "uniform:grid@2.5"])
def test_recipes_weigh_what_was_predicted(
    name: str, source: Source, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    policy = recipe(name, source.structure, source.digest)
    assert ledger.predict(policy) == pack(source, policy, store, tmp_path / "art") == disk_bytes(tmp_path / "art")


def test_resident_loaded_and_packed_without_a_store_agree(source: Source, store: Store, tmp_path: Path) -> None:
    resident = Resident(source, store)
    batch = inputs(resident.processor)
    for seed in range(4):
        policy = random_policy(source.structure, source.digest, seed)
        resident.apply(policy)
        pack(source, policy, None, tmp_path / f"{seed}")
        loaded, processor = load(tmp_path / f"{seed}")
        here, there = resident.model.state_dict(), loaded.state_dict()
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
        again = inputs(processor)
        assert all(torch.equal(batch[key], again[key]) for key in batch)
        with torch.no_grad():
            assert torch.equal(
                resident.model.generate(**batch, max_new_tokens=5), loaded.generate(**batch, max_new_tokens=5)
            )


def test_only_what_changed_is_swapped_and_the_original_comes_back(source: Source, store: Store, folder: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    plain = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    resident = Resident(source, store)
    batch = inputs(resident.processor)
    with torch.no_grad():
        wanted = plain(**batch).logits
        assert torch.equal(resident.model(**batch).logits, wanted)
    first = random_policy(source.structure, source.digest, 1)
    resident.apply(first)
    assert resident.apply(first) == ()
    changed = Policy(first.model, {**first.levels, "head": "int8", "projector": "int8"}, first.dropped)
    expected = {u for u in ("head", "projector") if first.levels[u] != "int8"}
    assert set(resident.apply(changed)) == expected
    resident.restore()
    with torch.no_grad():
        assert torch.equal(resident.model(**batch).logits, wanted)


def test_everything_raw_is_the_original(source: Source, store: Store, folder: Path, tmp_path: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    pack(source, recipe("uniform:raw:bf16", source.structure, source.digest), store, tmp_path / "art")
    unpack(tmp_path / "art", tmp_path / "plain")
    original = Qwen2AudioForConditionalGeneration.from_pretrained(folder).state_dict()
    back = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "plain").state_dict()
    assert original.keys() == back.keys()
    assert all(torch.equal(original[name], back[name]) for name in original)


def test_dropped_layers_unpack_into_a_smaller_model(source: Source, store: Store, tmp_path: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    pack(source, recipe("drop:1,audio.0", source.structure, source.digest), store, tmp_path / "art")
    unpack(tmp_path / "art", tmp_path / "plain")
    model = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "plain")
    assert model.config.text_config.num_hidden_layers == 3
    assert model.config.audio_config.encoder_layers == 1
    _, processor = load(tmp_path / "art")
    assert model.generate(**inputs(processor), max_new_tokens=3) is not None


def test_tied_embeddings_are_one_unit(tmp_path: Path) -> None:
    source = Source.open(save_tiny(tmp_path / "tied", tied=True))
    assert "head" not in source.structure.units
    assert source.structure.tied
    store = Store(tmp_path / "store")
    policy = recipe("uniform:grid@4", source.structure, source.digest)
    packed = pack(source, policy, store, tmp_path / "art")
    assert Ledger(source, store, ["grid@4"]).predict(policy) == packed
    loaded, processor = load(tmp_path / "art")
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    resident = Resident(source, store)
    resident.apply(policy)
    batch = inputs(processor)
    with torch.no_grad():
        assert torch.equal(resident.model(**batch).logits, loaded(**batch).logits)


def test_report_adds_up(source: Source, store: Store, tmp_path: Path) -> None:
    policy = random_policy(source.structure, source.digest, 3)
    pack(source, policy, store, tmp_path / "art")
    report = inspect(tmp_path / "art")
    assert report.total_bytes == disk_bytes(tmp_path / "art")
    assert (
        report.unit_bytes + report.unquantized_bytes + report.files_bytes + report.manifest_bytes == report.total_bytes
    )
    assert report.total_bytes == verify(tmp_path / "art").total_bytes
    assert report.bin == bin_of(report.total_bytes, source.original_bytes)


def test_an_artifact_is_never_written_over(source: Source, store: Store, tmp_path: Path) -> None:
    policy = recipe("uniform:grid@2.5", source.structure, source.digest)
    pack(source, policy, store, tmp_path / "art")
    with pytest.raises(UserError, match="exists already"):
        pack(source, policy, store, tmp_path / "art")


def test_a_policy_for_another_model_is_refused(source: Source, store: Store, tmp_path: Path) -> None:
    policy = recipe("uniform:grid@2.5", source.structure, "0" * 32)
    with pytest.raises(UserError, match="for model"):
        pack(source, policy, store, tmp_path / "art")
    assert list(tmp_path.iterdir()) == []
