"""What is saved is what was trained: norms, scales, integers and adapters, from the model in memory to the artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import compress
from compress.codecs import codec
from compress.codecs.grid.integers import QuantizedIntegers, quantized_integers, with_integers
from compress.errors import UserError
from compress.recovery import lora, rounding, scaling, shipping
from compress.recovery.batches import logits_of
from compress.recovery.loop import Training
from compress.recovery.losses import IGNORE
from compress.recovery.settings import TrainingSettings
from tests.compress.tiny import PROMPT

QUICK = TrainingSettings(epochs=3, learning_rate=5e-3, checkpoint_every=100)


def resident(source: compress.Source, store: compress.Store, policy: compress.Policy) -> compress.Resident:
    found = compress.Resident(source, store)
    found.apply(policy)
    return found


def speech(processor: Any, rows: int = 2) -> dict[str, Tensor]:
    """Noise, the prompt, and a completion."""
    torch.manual_seed(3)
    rate = processor.feature_extractor.sampling_rate
    length = processor.feature_extractor.n_samples // 2
    sounds = [torch.randn(length).numpy() for _ in range(rows)]
    asked = processor(text=[PROMPT] * rows, audio=sounds, sampling_rate=rate, padding=True, return_tensors="pt")
    width = asked["input_ids"].shape[1]
    written = torch.randint(10, 60, (rows, 5))
    labels = torch.cat([torch.full((rows, width), IGNORE), written], dim=1)
    ids = torch.cat([asked["input_ids"], written], dim=1)
    mask = torch.cat([asked["attention_mask"], torch.ones_like(written)], dim=1)
    return {**asked, "input_ids": ids, "attention_mask": mask, "labels": labels}


def shipped_logits(
    source: compress.Source,
    store: compress.Store,
    recovery: compress.RecoveryDelta,
    batch: dict[str, Tensor],
    out: Path,
) -> Tensor:
    """Of the artifact, loaded; after its size was found to be the predicted one."""
    recovery.save(out / "recovery")
    recovered = compress.RecoveredSource.open_at(source, out / "recovery")
    packed = compress.pack(recovered, recovered.policy, store, out / "art")
    ledger = compress.Ledger(recovered, store, set(recovered.policy.levels.values()))
    assert ledger.predict(recovered.policy) == packed == sum(f.stat().st_size for f in (out / "art").iterdir())
    model, _ = compress.load(out / "art")
    with torch.no_grad():
        return logits_of(model, batch)


@pytest.mark.parametrize("calibrated", [False, True])
def test_integers_go_out_and_in_again(calibrated: bool, source: compress.Source) -> None:
    unit = source.structure.unit("lm.1.attention")
    torch.manual_seed(0)
    weights = [source.tensor(name).float() for name in unit.tensors]
    known: list[Any] = [None] * len(weights)
    if calibrated:
        from compress.codecs.statistics import Statistics

        x = torch.randn(200, 64) * torch.linspace(0.1, 3, 64)
        shared = x.T @ x
        known = [Statistics(shared, torch.rand(len(w))) for w in weights]
        known[3] = Statistics(x.T @ x + torch.eye(64), None)
    payload = codec("grid@3").encode(weights, known, unit.roles)
    decoded = codec("grid@3").decode(payload, unit.shapes, torch.float32)
    found = quantized_integers(payload, unit.shapes)
    for lattice, value in zip(found, decoded, strict=True):
        assert torch.allclose(lattice.steps * lattice.values(lattice.integers), value, rtol=1e-5, atol=1e-7)
    assert with_integers(payload, unit.shapes, [lattice.integers for lattice in found]) == payload
    moved = [lattice.integers + (torch.rand_like(lattice.integers) < 0.1) for lattice in found]
    other = codec("grid@3").decode(with_integers(payload, unit.shapes, moved), unit.shapes, torch.float32)
    for lattice, q, value in zip(found, moved, other, strict=True):
        assert torch.allclose(lattice.steps * lattice.values(q), value, rtol=1e-5, atol=1e-7)


def test_norms_biases_and_scales_cost_no_bytes_and_are_shipped(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    now = resident(source, store, policy)
    batch = speech(now.processor)
    here = shipping.names_now(source.structure, policy.dropped)
    kept = {name: here[name] for name in shipping.trainable_kept(source, policy)}
    scalable = shipping.scalable(source, policy)
    factors = scaling.add_factors(now.model, [here[name] for name in scalable])
    parameters = {name: now.model.get_parameter(place) for name, place in kept.items()}
    Training(now.model, {**parameters, **factors}, [batch], QUICK).run()
    with torch.no_grad():
        trained = logits_of(now.model, batch)
    found = scaling.take_factors(now.model, factors)
    assert any(abs(value - 1) > 0.005 for value in found.values())
    by_name = {name: found[here[name]] for name in scalable}
    units = shipping.scaled_units(source, policy, store, by_name)
    recovery = compress.RecoveryDelta(policy, shipping.kept_of(source, now.model, kept), units)
    shipped = shipped_logits(source, store, recovery, batch, tmp_path)
    untrained = logits_of(resident(source, store, policy).model, batch)
    error = (shipped - trained).abs().mean()
    assert error < 0.2 * (shipped - untrained).abs().mean()  # what rounding to bfloat16 leaves
    plain = compress.pack(source, policy, store, tmp_path / "plain")
    assert sum(map(len, units.values())) == sum(
        len(shipping.payload_of(source, policy, source.structure.unit(name), store)) for name in units
    )
    assert abs(compress.inspect(tmp_path / "art").total_bytes - plain) < 0.02 * plain  # norms compress otherwise


def test_trained_integers_are_shipped_value_for_value(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    now = resident(source, store, policy)
    batch = speech(now.processor)
    units = [u for u in policy.remaining_units(source.structure) if policy.levels[u.name].startswith("grid@")]
    here = shipping.names_now(source.structure, policy.dropped)
    found: dict[str, QuantizedIntegers] = {}
    for unit in units:
        payload = shipping.payload_of(source, policy, unit, store)
        found |= {here[n]: x for n, x in zip(unit.tensors, quantized_integers(payload, unit.shapes), strict=True)}
    before = logits_of(now.model, batch).detach()
    moved = rounding.add_rounding(now.model, found)
    assert torch.allclose(logits_of(now.model, batch), before, atol=1e-4)
    Training(now.model, moved, [batch], replace(QUICK, learning_rate=2e-2)).run()
    with torch.no_grad():
        trained = logits_of(now.model, batch)
    reached = rounding.take_integers(now.model, moved)
    assert any(not torch.equal(reached[name], found[name].integers) for name in found)
    payloads = {
        unit.name: with_integers(
            shipping.payload_of(source, policy, unit, store), unit.shapes, [reached[here[n]] for n in unit.tensors]
        )
        for unit in units
    }
    shipped = shipped_logits(source, store, compress.RecoveryDelta(policy, {}, payloads), batch, tmp_path)
    assert torch.allclose(shipped, trained, atol=1e-4)
    assert not torch.allclose(shipped, before, atol=1e-2)


@pytest.mark.parametrize("through_nf4", [False, True])
def test_adapters_are_trained_over_what_the_artifact_holds(
    through_nf4: bool, source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    """A layer dropped, an FFN pruned, NF4 attention (through bitsandbytes or as decoded), grid MLPs."""
    now = resident(source, store, policy)
    batch = speech(now.processor)
    before = logits_of(now.model, batch).detach()
    if through_nf4:
        originals = shipping.nf4_originals(source, policy)
        assert originals
        lora.to_nf4(now.model, originals, torch.float32)
        # bitsandbytes' own dequantisation, so the base is the artifact's
        assert (logits_of(now.model, batch) - before).abs().mean() < 0.01 * before.abs().mean()
    wrapped, parameters = lora.add_adapters(now.model, lora.all_linear(now.model), lora.AdapterShape(4, 8.0))
    assert len(parameters) == 2 * len(lora.all_linear(resident(source, store, policy).model))
    Training(wrapped, parameters, [batch], QUICK).run()
    with torch.no_grad():
        trained = logits_of(wrapped, batch)
    products = lora.products(wrapped)
    now = resident(source, store, policy)
    widths = {n: tuple(m.weight.shape) for n, m in now.model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapters = shipping.adapters_of(source.structure, policy, widths, products, "raw:bf16")
    shipped = shipped_logits(source, store, compress.RecoveryDelta(policy, adapters=adapters), batch, tmp_path)
    assert (shipped - trained).abs().mean() < 0.1 * (shipped - before).abs().mean()
    assert compress.inspect(tmp_path / "art").adapter_bytes > 0


def test_a_fully_trained_model_is_encoded_again(
    source: compress.Source, store: compress.Store, policy: compress.Policy, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="train adapters instead"):
        shipping.encoded_again(source, policy, resident(source, store, policy).model, store)
    whole = replace(policy, levels={**policy.levels, "lm.0.mlp": "grid@4"})
    raw = replace(policy, levels=dict.fromkeys(whole.levels, "raw:bf16"))
    now = resident(source, store, raw)
    batch = speech(now.processor)
    here = shipping.names_now(source.structure, policy.dropped)
    parameters = {name: now.model.get_parameter(place) for name, place in here.items() if "embed_pos" not in name}
    Training(now.model, parameters, [batch], QUICK).run()
    units = shipping.encoded_again(source, raw, now.model, store)
    names = {n: here[n] for n in source.structure.unquantized if n in here}
    recovery = compress.RecoveryDelta(raw, shipping.kept_of(source, now.model, names), units)
    with torch.no_grad():
        trained = logits_of(now.model, batch)
    before = logits_of(resident(source, store, raw).model, batch)
    shipped = shipped_logits(source, store, recovery, batch, tmp_path)
    assert (shipped - trained).abs().mean() < 0.1 * (shipped - before).abs().mean()
    assert set(shipping.encoded_again(source, whole, now.model, store)) == set(units)


def test_names_follow_dropped_layers(source: compress.Source) -> None:
    here = shipping.names_now(source.structure, ("lm.0", "lm.2", "audio.0"))
    assert all(".layers.1." in here[name] for name in source.structure.unit("lm.3.mlp").tensors)
    assert not any(name in here for name in source.structure.unit("lm.2.mlp").tensors)
    assert len(set(here.values())) == len(here)
