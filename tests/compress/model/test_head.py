"""The head on some positions only, and layers as checkpoints: the same values with less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compress.calibration import importance
from compress.calibration.importance import output_importance
from compress.model.checkpointing import checkpointed_layers
from compress.model.head import head_sees, logits_at, run_without_logits
from compress.model.source import Source
from compress.policy.store import Store
from compress.resident import Resident
from tests.compress.tiny import inputs


@pytest.fixture(scope="module")
def resident(folder: Any, store_folder: Any) -> Resident:
    return Resident(Source.open(folder), Store(store_folder))


@pytest.fixture(scope="module")
def batch(resident: Resident) -> dict[str, Any]:
    return dict(inputs(resident.processor, (1.2, 0.7, 1.9)))


def test_logits_are_those_of_the_whole_pass(resident: Resident, batch: dict[str, Any]) -> None:
    positions = batch["attention_mask"].bool().clone()
    positions[:, :-4] = False
    with torch.no_grad():
        wanted = resident.model(**batch).logits[positions]
        torch.testing.assert_close(logits_at(resident.model, batch, positions), wanted)
    assert "forward" not in vars(resident.model.get_output_embeddings())


def test_a_pass_without_logits_still_shows_the_head_its_inputs(resident: Resident, batch: dict[str, Any]) -> None:
    head, seen = resident.model.get_output_embeddings(), list[Any]()
    hook = head.register_forward_hook(lambda _, given, output: seen.append((given[0].shape[:2], output.shape[1])))
    with torch.no_grad():
        run_without_logits(resident.model, batch)
    hook.remove()
    assert seen == [(batch["input_ids"].shape, 0)]


def test_hooks_nest_and_a_model_without_a_head_is_told_apart(resident: Resident) -> None:
    head = resident.model.get_output_embeddings()
    states = torch.randn(2, 5, head.in_features)
    with torch.no_grad(), head_sees(resident.model, lambda s: s[:, -2:]), head_sees(resident.model, lambda s: s[:1]):
        assert head(states).shape[:2] == (1, 2)

    class Headless:
        def get_output_embeddings(self) -> None:
            return None

    with head_sees(Headless(), lambda s: s) as does:
        assert not does


def test_importance_with_checkpoints_is_that_without(
    resident: Resident, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the activations that are kept between the passes are a fraction."""
    positions = batch["attention_mask"].bool()
    units = list(resident.source.structure.units.values())
    kept: list[int] = []

    def measure() -> dict[str, torch.Tensor]:
        total = 0

        def pack(value: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += value.numel() * value.element_size()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            result = output_importance(resident, units, [batch], [positions])
        kept.append(total)
        return result

    with_checkpoints = measure()
    monkeypatch.setattr(importance, "checkpointed_layers", lambda *_: torch.enable_grad())
    without = measure()
    assert with_checkpoints.keys() == without.keys()
    assert any(name.endswith("lm_head.weight") for name in without)
    for name, value in without.items():
        torch.testing.assert_close(with_checkpoints[name], value, msg=name)
    assert kept[0] < kept[1] / 2


def test_layers_are_as_before_after_the_block(resident: Resident) -> None:
    def own_forwards() -> list[str]:
        return [name for name, module in resident.model.named_modules() if "forward" in vars(module)]

    before = own_forwards()
    with checkpointed_layers(resident.model, resident.source.structure):
        assert len(own_forwards()) > len(before)
    assert own_forwards() == before
    assert isinstance(resident.model, nn.Module)
