"""Calibration: Hessians of the uncompressed model, in bounded memory, gathered once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.artifact import load
from compress.calibration import calibrate
from compress.errors import Refusal
from compress.hessians import hessians
from compress.ledger import Ledger
from compress.packing import pack
from compress.policy import Policy
from compress.recipes import recipe
from compress.resident import Resident
from compress.source import Source
from compress.store import Store
from tests.compress.tiny import inputs


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return Source.open(folder)


@pytest.fixture(scope="module")
def store(store_folder: Path) -> Store:
    return Store(store_folder)


@pytest.fixture(scope="module")
def resident(source: Source, store: Store) -> Resident:
    return Resident(source, store)


@pytest.fixture(scope="module")
def batches(resident: Resident) -> list[dict[str, Any]]:
    return [dict(inputs(resident.processor, seconds)) for seconds in ((1.2, 0.7, 1.9), (0.5, 1.5))]


@pytest.fixture(scope="module")
def digest(source: Source, store: Store, resident: Resident, batches: list[dict[str, Any]]) -> str:
    return calibrate(source, batches, store, resident=resident)


def test_hessians_are_those_of_the_inputs(
    source: Source, store: Store, resident: Resident, batches: list[dict[str, Any]], digest: str
) -> None:
    """Against plain hooks on two matrices; padding left out, in the language model by its own mask."""
    wanted = torch.zeros(64, 64)

    def watch(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        x = given[0][mask]
        wanted.add_(x.T @ x)

    hook = resident.model.get_submodule("language_model.model.layers.2.mlp.up_proj").register_forward_pre_hook(watch)
    with torch.no_grad():
        for batch in batches:
            mask = batch["attention_mask"].bool()
            resident.model(**batch)
    hook.remove()
    found = hessians(store.root, digest, source.anatomy.unit("lm.2.mlp"))
    assert found[0] is found[1]
    assert found[1] is not None
    assert torch.allclose(found[1], wanted, rtol=1e-3, atol=1e-3 * float(wanted.diagonal().max()))
    assert found[2] is not None
    assert found[2].shape == (128, 128)


def test_every_unit_with_matrix_products_has_them(source: Source, store: Store, digest: str) -> None:
    for unit in source.anatomy.units.values():
        for shape, hessian in zip(unit.shapes, hessians(store.root, digest, unit), strict=True):
            if unit.kind == "embedding":
                assert hessian is None
            else:
                assert hessian is not None
                assert hessian.shape[0] == torch.Size(shape[1:]).numel()


def test_little_memory_gives_the_same_in_more_passes(
    source: Source, resident: Resident, batches: list[dict[str, Any]], digest: str, store: Store, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    small = Store(tmp_path)
    again = calibrate(source, batches, small, resident=resident, memory=1, progress=lambda *p: seen.append(p))
    assert again == digest
    assert len(seen) > 5
    for unit in source.anatomy.units.values():
        pairs = zip(hessians(store.root, digest, unit), hessians(small.root, digest, unit), strict=True)
        assert all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def test_it_is_gathered_once(
    source: Source, store: Store, batches: list[dict[str, Any]], digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.calibration._gather", lambda *_: pytest.fail("gathered again"))
    assert calibrate(source, batches, store) == digest


def test_a_calibrated_policy_packs_loads_and_is_better(
    source: Source, store: Store, resident: Resident, batches: list[dict[str, Any]], digest: str, tmp_path: Path
) -> None:
    plain = recipe("uniform:grid@3", source.anatomy, source.digest)
    fed = recipe("uniform:grid@3", source.anatomy, source.digest, calibration=digest)
    assert Policy.from_json(fed.to_json()) == fed
    assert fed.digest != plain.digest
    packed = pack(source, fed, store, tmp_path / "art")
    assert Ledger(source, store, ["grid@3"], digest).predict(fed) == packed
    loaded, _ = load(tmp_path / "art")
    resident.restore()
    with torch.no_grad():
        real = batches[0]["attention_mask"].bool()  # what a padded place says is nobody's concern
        original = resident.model(**batches[0]).logits[real]
        resident.apply(plain)
        distance = (resident.model(**batches[0]).logits[real] - original).square().mean()
        resident.apply(fed)
        closer = (resident.model(**batches[0]).logits[real] - original).square().mean()
        assert torch.equal(loaded(**batches[0]).logits, resident.model(**batches[0]).logits)
    resident.restore()
    assert closer < 0.7 * distance


def test_levels_without_hessians_share_their_variants(source: Source, digest: str) -> None:
    from compress.variant import Wanted, variant_key

    unit = source.anatomy.unit("lm.0.mlp")
    assert variant_key(source, unit, "nf4") == variant_key(source, unit, "nf4", Wanted(calibration=digest))
    assert variant_key(source, unit, "grid@3") != variant_key(source, unit, "grid@3", Wanted(calibration=digest))


def test_a_calibration_that_is_not_there_is_asked_for(source: Source, store: Store, tmp_path: Path) -> None:
    policy = recipe("uniform:grid@3", source.anatomy, source.digest, calibration="ab" * 16)
    with pytest.raises(Refusal, match="calibrate first"):
        pack(source, policy, store, tmp_path / "art")
    with pytest.raises(Refusal, match="name the store"):
        pack(source, policy, None, tmp_path / "art")
    with pytest.raises(Refusal, match="at least one batch"):
        calibrate(source, [], store)
