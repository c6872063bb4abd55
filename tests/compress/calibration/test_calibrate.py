"""Calibration: Hessians of the uncompressed model, in bounded memory, gathered once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.artifact.artifact import load
from compress.calibration.calibrate import calibrate
from compress.calibration.hessians import statistics
from compress.calibration.importance import output_importance
from compress.errors import UserError
from compress.model.source import Source
from compress.pack import pack
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.resident import Resident
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

    hook = resident.model.get_decoder().layers[2].mlp.up_proj.register_forward_pre_hook(watch)
    with torch.no_grad():
        for batch in batches:
            mask = batch["attention_mask"].bool()
            resident.model(**batch)
    hook.remove()
    gate, up, down = statistics(store.root, digest, source.structure.unit("lm.2.mlp"))
    assert gate is not None
    assert up is not None
    assert down is not None
    assert gate.hessian is up.hessian
    assert torch.allclose(up.hessian, wanted, rtol=1e-3, atol=1e-3 * float(wanted.diagonal().max()))
    assert down.hessian.shape == (128, 128)


def test_every_unit_with_matrix_products_has_them(source: Source, store: Store, digest: str) -> None:
    for unit in source.structure.units.values():
        for shape, known in zip(unit.shapes, statistics(store.root, digest, unit), strict=True):
            if unit.kind == "embedding":
                assert known is None
            else:
                assert known is not None
                assert known.importance is None
                assert known.hessian.shape[0] == torch.Size(shape[1:]).numel()


def test_importance_is_measured_where_it_matters(
    source: Source, store: Store, resident: Resident, batches: list[dict[str, Any]], digest: str, tmp_path: Path
) -> None:
    places = [torch.zeros_like(batch["input_ids"], dtype=torch.bool) for batch in batches]
    for place in places:
        place[:, -3:] = True
    with torch.no_grad():
        before = resident.model(**batches[0]).logits
    again = calibrate(source, batches, store, target_masks=places, resident=resident)
    assert again != digest
    with torch.no_grad():
        assert torch.equal(resident.model(**batches[0]).logits, before)
    for unit in source.structure.units.values():
        for shape, known in zip(unit.shapes, statistics(store.root, again, unit), strict=True):
            assert known is not None
            assert known.importance is not None
            assert known.importance.shape == shape[:1]
            assert bool((known.importance >= 0).all())
            assert float(known.importance.sum()) > 0
    used = {int(i) for batch in batches for i in batch["input_ids"].unique()}
    [embedding] = statistics(store.root, again, source.structure.unit("embedding"))
    assert embedding is not None
    assert embedding.importance is not None
    assert {int(i) for i in embedding.importance.nonzero()} <= used

    policy = recipe("uniform:grid@2.5", source.structure, source.digest, calibration=again)
    packed = pack(source, policy, store, tmp_path / "art")
    assert Ledger(source, store, ["grid@2.5"], again).predict(policy) == packed
    loaded, _ = load(tmp_path / "art")
    resident.apply(policy)
    with torch.no_grad():
        assert torch.equal(loaded(**batches[0]).logits, resident.model(**batches[0]).logits)
    resident.restore()
    with pytest.raises(UserError, match="target masks"):
        calibrate(source, batches, store, target_masks=places[:1])


def test_importance_is_the_same_again_and_the_noise_goes(
    source: Source, resident: Resident, batches: list[dict[str, Any]]
) -> None:
    places = [torch.ones_like(batch["input_ids"], dtype=torch.bool) for batch in batches[:1]]
    wanted = [source.structure.unit("lm.2.mlp")]
    resident.restore()
    before = {name: value.clone() for name, value in resident.model.named_parameters()}
    first, again = (output_importance(resident, wanted, batches[:1], places) for _ in range(2))
    assert set(first) == set(wanted[0].tensors)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(before[name], value) for name, value in resident.model.named_parameters())
    resident.add_noise(0.1, seed=0)
    noisy = dict(resident.model.named_parameters())
    for name in wanted[0].tensors:
        added = float((noisy[name] - before[name]).float().square().mean().sqrt())
        assert added == pytest.approx(0.1 * float(before[name].float().square().mean().sqrt()), rel=0.1)
    assert set(resident.restore()) == set(source.structure.units)


def test_little_memory_gives_the_same_in_more_passes(
    source: Source, resident: Resident, batches: list[dict[str, Any]], digest: str, store: Store, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    small = Store(tmp_path)
    again = calibrate(source, batches, small, resident=resident, memory=1, progress=lambda *p: seen.append(p))
    assert again == digest
    assert len(seen) > 5
    for unit in source.structure.units.values():
        for one, other in zip(*(statistics(s.root, digest, unit) for s in (store, small)), strict=True):
            assert (one is None) == (other is None)
            assert one is None or other is None or torch.equal(one.hessian, other.hessian)


def test_it_is_gathered_once(source: Source, store: Store, batches: list[dict[str, Any]], digest: str) -> None:
    assert calibrate(source, batches, store, progress=lambda *_: pytest.fail("gathered again")) == digest


def test_a_calibrated_policy_packs_loads_and_is_better(
    source: Source, store: Store, resident: Resident, batches: list[dict[str, Any]], digest: str, tmp_path: Path
) -> None:
    plain = recipe("uniform:grid@3", source.structure, source.digest)
    fed = recipe("uniform:grid@3", source.structure, source.digest, calibration=digest)
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
    from compress.policy.variant import EncodeOptions, variant_key

    unit = source.structure.unit("lm.0.mlp")
    assert variant_key(source, unit, "nf4") == variant_key(source, unit, "nf4", EncodeOptions(calibration=digest))
    assert variant_key(source, unit, "grid@3") != variant_key(source, unit, "grid@3", EncodeOptions(calibration=digest))


def test_a_calibration_that_is_not_there_is_asked_for(source: Source, store: Store, tmp_path: Path) -> None:
    policy = recipe("uniform:grid@3", source.structure, source.digest, calibration="ab" * 16)
    with pytest.raises(UserError, match="calibrate first"):
        pack(source, policy, store, tmp_path / "art")
    with pytest.raises(UserError, match="name the store"):
        pack(source, policy, None, tmp_path / "art")
    with pytest.raises(UserError, match="at least one batch"):
        calibrate(source, [], store)
