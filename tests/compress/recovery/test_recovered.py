"""What is trained is shipped and counted: unquantized tensors, payloads and adapters in ledger, packing and loading."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import compress
from compress.artifact.adapters import encode_adapter, thin_shapes
from compress.artifact.manifest import MANIFEST, WEIGHTS
from compress.codecs import codec
from compress.codecs.grid.scales import rescaled
from compress.errors import UserError


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def shapes_in(source: compress.Source, policy: compress.Policy, store: compress.Store, unit: str) -> list[Any]:
    """Shapes of a unit's matrices as decoded: a pruned FFN is narrower."""
    built = compress.build(source, unit, policy.levels[unit], store)
    payload = store.get(built.key)
    assert payload is not None
    found = source.structure.unit(unit)
    return [tuple(v.shape) for v in codec(policy.levels[unit]).decode(payload, found.shapes, source.dtype)]


def recovery_of(source: compress.Source, policy: compress.Policy, store: compress.Store) -> compress.RecoveryDelta:
    """A bit of everything: norms moved, an adapter on four units, scales of one, another payload of one."""
    torch.manual_seed(0)
    kept = {
        name: source.tensor(name) + torch.randn(source.tensor(name).shape).to(source.tensor(name).dtype)
        for name in source.structure.unquantized
        if name.endswith("norm.weight") or "layers.1." in name
    }
    adapters = {}
    for unit, rank in (("lm.1.attention", 3), ("lm.0.mlp", 2), ("audio.0.mlp", 0), ("lm.3.mlp", 1)):
        shapes = shapes_in(source, policy, store, unit)
        thin = [torch.randn(shape) * 0.1 for shape in thin_shapes(unit, rank, shapes)]
        adapters[unit] = encode_adapter(unit, "raw:bf16" if rank != 3 else "rtn:8:g32", rank, thin, shapes)
    wanted = source.structure.unit("audio.1.mlp")
    fresh = [torch.randn(shape) * 0.05 for shape in wanted.shapes]
    other = codec(policy.levels["audio.1.mlp"]).encode(fresh, [None] * len(fresh), wanted.roles)
    built = compress.build(source, "lm.1.mlp", policy.levels["lm.1.mlp"], store)
    scaled = rescaled(store.get(built.key) or b"", built.level, [1.5] * len(source.structure.unit("lm.1.mlp").tensors))
    return compress.RecoveryDelta(
        policy, kept, {"audio.1.mlp": other, "lm.1.mlp": scaled}, adapters, {"method": "test"}
    )


def test_predicted_bytes_are_those_on_disk_and_loading_gives_the_recovered_model(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    recovery_of(source, policy, store).save(tmp_path / "recovery")
    recovered = compress.RecoveredSource.open_at(source, tmp_path / "recovery")
    assert recovered.digest != source.digest
    for unit, level in recovered.policy.levels.items():
        compress.build(recovered, unit, level, store)
    ledger = compress.Ledger(recovered, store, set(policy.levels.values()))
    predicted = ledger.predict(recovered.policy)
    art = tmp_path / "art"
    assert compress.pack(recovered, recovered.policy, store, art) == predicted == size(art)
    report = compress.verify(art)
    assert report.adapter_bytes == sum(len(a.payload) for a in recovered.adapters.values())
    assert report.total_bytes == predicted
    model, _ = compress.load(art)
    resident = compress.Resident(recovered, store)
    resident.apply(recovered.policy)
    mine, theirs = weights(model), weights(resident.model)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    # Against the candidate it began with, exactly what was trained differs.
    resident = compress.Resident(source, store)
    resident.apply(policy)
    before = weights(resident.model)
    changed = {name for name in mine if not torch.equal(mine[name], before[name])}
    for unit in ("lm.1.attention", "lm.0.mlp", "audio.0.mlp", "audio.1.mlp", "lm.1.mlp"):
        assert set(source.structure.unit(unit).tensors) <= changed, unit
    assert not set(source.structure.unit("audio.0.attention").tensors) & changed


def test_adapters_add_their_product_and_row_factors_multiply() -> None:
    torch.manual_seed(1)
    values = [torch.randn(6, 4), torch.randn(5, 6)]
    thin = [torch.randn(shape) for shape in thin_shapes("u", 2, [(6, 4), (5, 6)])]
    out = encode_adapter("u", "raw:fp32", 2, thin, [(6, 4), (5, 6)]).merge(values)
    assert torch.allclose(out[0], values[0] + thin[1].T @ thin[0])
    assert torch.allclose(out[1], values[1] + thin[3].T @ thin[2])
    rows = [torch.full((1, 6), 0.5), torch.zeros(1, 5)]
    out = encode_adapter("u", "raw:fp32", 0, rows, [(6, 4), (5, 6)]).merge(values)
    assert torch.equal(out[0], values[0] * 1.5)
    assert torch.equal(out[1], values[1])


def test_scales_are_replaced_in_place(source: compress.Source, store: compress.Store) -> None:
    unit = source.structure.unit("lm.1.mlp")
    payload = store.get(compress.build(source, "lm.1.mlp", "grid@4", store).key) or b""
    other = rescaled(payload, "grid@4", [0.5, 2.0, 1.0])
    assert len(other) == len(payload)
    old, new = (codec("grid@4").decode(p, unit.shapes, source.dtype) for p in (payload, other))
    for a, b, factor in zip(old, new, (0.5, 2.0, 1.0), strict=True):
        assert torch.equal(a * factor, b)
    rounded = codec("grid@4").decode(rescaled(payload, "grid@4", [1.01] * 3), unit.shapes, source.dtype)
    assert torch.allclose(rounded[0], old[0] * 1.01, rtol=1 / 256)
    with pytest.raises(UserError, match="only grid@R"):
        rescaled(payload, "nf4", [1.0])


def test_nothing_changes_for_artifacts_without_adapters(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    compress.pack(source, policy, store, tmp_path / "plain")
    compress.pack(source, policy, store, tmp_path / "again")
    assert (tmp_path / "plain" / MANIFEST).read_bytes() == (tmp_path / "again" / MANIFEST).read_bytes()
    assert compress.Artifact.open(tmp_path / "plain").manifest.adapters == ()
    empty = compress.RecoveredSource(source, compress.RecoveryDelta(policy))
    compress.pack(empty, empty.policy, store, tmp_path / "empty")
    assert (tmp_path / "empty" / WEIGHTS).read_bytes() == (tmp_path / "plain" / WEIGHTS).read_bytes()


def test_a_recovered_artifact_unpacks_into_a_plain_folder(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    recovered = compress.RecoveredSource(source, recovery_of(source, policy, store))
    compress.pack(recovered, recovered.policy, store, tmp_path / "art")
    compress.unpack(tmp_path / "art", tmp_path / "plain", dtype=torch.float32)
    plain = compress.Source.open(tmp_path / "plain")
    model, _ = compress.load(tmp_path / "art")
    name = source.structure.unit("lm.1.attention").tensors[0]
    assert torch.equal(plain.tensor(name), weights(model)[name])


def test_a_recovery_for_another_model_is_refused(
    source: compress.Source, store: compress.Store, policy: compress.Policy
) -> None:
    stranger = replace(policy, model="ab" * 16)
    with pytest.raises(UserError, match="not for"):
        compress.RecoveredSource(source, replace(recovery_of(source, policy, store), policy=stranger))


def test_a_trained_unit_has_no_other_level(
    source: compress.Source, store: compress.Store, policy: compress.Policy, out: Path
) -> None:
    recovered = compress.RecoveredSource(source, recovery_of(source, policy, store))
    other = replace(recovered.policy, levels={**policy.levels, "lm.1.mlp": "nf4"})
    with pytest.raises(UserError, match=r"was trained at level grid@4"):
        compress.pack(recovered, other, store, out)
    assert not out.exists()


def test_damaged_recoveries_are_refused_in_one_line(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    whole = recovery_of(source, policy, store)
    whole.save(tmp_path / "r")
    with pytest.raises(UserError, match="exists already"):
        whole.save(tmp_path / "r")
    with pytest.raises(UserError, match="no recovery at"):
        compress.RecoveryDelta.read(tmp_path / "nowhere")
    table = json.loads((tmp_path / "r" / "recovery.json").read_text())
    changes: list[dict[str, Any]] = [{"format": "x"}, {"adapters": {}}, {"adapters": None}, {"policy": 3}]
    for change in changes:
        (tmp_path / "r" / "recovery.json").write_text(json.dumps(table | change))
        with pytest.raises(UserError):
            compress.RecoveryDelta.read(tmp_path / "r")
    strays: list[dict[str, Any]] = [
        {"unquantized": {"no.such": torch.zeros(1)}},
        {"units": {"lm.2.mlp": b"1"}},
        {"unquantized": {source.structure.unquantized[0]: torch.zeros(1, 1, 1)}},
    ]
    for stray in strays:
        with pytest.raises(UserError, match="damaged recovery"):
            compress.RecoveredSource(source, replace(whole, **stray))


def test_adapters_of_a_wrong_shape_or_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="of shapes"):
        encode_adapter("u", "raw:bf16", 2, [torch.zeros(2, 3), torch.zeros(2, 4)], [(4, 4)])
    with pytest.raises(UserError, match="not finite"):
        encode_adapter("u", "raw:bf16", 1, [torch.full((1, 4), float("nan")), torch.zeros(1, 4)], [(4, 4)])
    with pytest.raises(UserError, match="plain matrices"):
        thin_shapes("audio.conv", 2, [(4, 4, 3)])


def test_manifests_that_lie_about_adapters_are_refused(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    from compress.codecs.lossless import zstd_decode, zstd_encode

    recovered = compress.RecoveredSource(source, recovery_of(source, policy, store))
    compress.pack(recovered, recovered.policy, store, tmp_path / "art")
    table = json.loads(zstd_decode((tmp_path / "art" / MANIFEST).read_bytes(), 1 << 20))
    good = table["adapters"]
    lies: list[Any] = [[], None, [*reversed(good)], [["no.unit", *good[0][1:]], *good[1:]], [good[0], *good[:-1]]]
    lies += [[[good[0][0], good[0][1], 10**6, good[0][3]], *good[1:]], [[1, 2, 3]], [[*good[0][:3], -1], *good[1:]]]
    lies += [[[good[0][0], "rtn:2:g32", *good[0][2:]], *good[1:]], [[good[0][0], good[0][1], 7, good[0][3]], *good[1:]]]
    for lie in lies:
        data = zstd_encode(json.dumps(table | {"adapters": lie}).encode(), 3)
        (tmp_path / "art" / MANIFEST).write_bytes(data)
        with pytest.raises(UserError):
            compress.verify(tmp_path / "art")
