"""Calibration: what the inputs of every matrix look like, as one Hessian XᵀX for each distinct input.

Gathered from the uncompressed model, so that no unit's variant depends on another's. Only as many Hessians
as fit in a given memory are gathered in one pass over the data; the next pass takes the next units. They
are kept in the store, under a digest of the model and of the data, and gathered only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.calibration.hessians import hessian_key, hessians_to_bytes
from compress.calibration.importance import output_importance
from compress.errors import UserError
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store
from compress.resident import Resident

Batch = Mapping[str, Any]  # arguments of the model's forward: what its processor returns

_FORMAT = 3
_MASKS = ("attention_mask", "feature_attention_mask")


def calibrate(
    source: Source,
    batches: Sequence[Batch],
    store: Store,
    *,
    places: Sequence[Tensor] | None = None,
    resident: Resident | None = None,
    memory: int = 2 << 30,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Gather the Hessians of every unit and return the digest they are known by.

    `batches` are run through the original model; give them as the processor made them, the wanted output
    appended to the prompt. `places` says, for each batch, at which positions (batch × length) the next token is
    one that matters: with it the importance of every output is measured too, by two backward passes a batch around
    the original, and error feedback makes good use of it. `memory` bounds the bytes of the Hessians held at once.
    `resident` lends its model (and device), which is restored first. `progress` is called with passes done and in all.
    """
    if not batches:
        raise UserError("calibration needs at least one batch of inputs")
    if places is not None and len(places) != len(batches):
        raise UserError(f"{len(places)} masks of places for {len(batches)} batches")
    digest = calibration_digest(source, batches, places)
    wanted = [unit for unit in source.structure.units.values() if store.size(hessian_key(digest, unit)) is None]
    if not wanted:
        return digest
    lent = resident if resident is not None else Resident(source, store)
    lent.restore()
    importance: dict[str, Tensor] = {}
    if places is not None:
        here = [_on_device(batch, lent) for batch in batches]
        importance = output_importance(lent, wanted, here, places)
    passes = _passes(wanted, memory)
    for done, units in enumerate(passes):
        if progress is not None:
            progress(done, len(passes))
        for unit, groups, found in _gather(lent.model, lent.device, units, batches):
            if unit.kind == "embedding" and not found and unit.tensors[0] in importance:
                groups, found = [0], [torch.eye(unit.shapes[0][1])]  # its inputs are tokens, one at a time
            store.put(
                hessian_key(digest, unit), hessians_to_bytes(groups, found, [importance.get(n) for n in unit.tensors])
            )
    return digest


def calibration_digest(source: Source, batches: Sequence[Batch], places: Sequence[Tensor] | None = None) -> str:
    """What identifies a calibration: the model and every input."""
    state = hashlib.blake2b(f"{_FORMAT}:{source.digest}".encode(), digest_size=16)
    for batch in [*batches, *({"places": place} for place in places or ())]:
        for name in sorted(batch):
            value = batch[name]
            if isinstance(value, Tensor):
                state.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
                state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _on_device(batch: Batch, resident: Resident) -> dict[str, Any]:
    moved = {k: v.to(resident.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    return _at_dtype(moved, resident.dtype)


def _passes(units: Sequence[Unit], memory: int) -> list[list[Unit]]:
    """Units in runs whose Hessians fit in memory together; a unit that alone does not is a run of its own."""
    runs: list[list[Unit]] = []
    room = -1
    for unit in units:
        need = 0 if unit.kind == "embedding" else sum(4 * _width(shape) ** 2 for shape in unit.shapes)
        if need > room:
            runs.append([])
            room = memory
        runs[-1].append(unit)
        room -= need
    return runs


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:]))


class _Sums:
    """XᵀX of one unit's matrices; those that get the same input object share one sum."""

    def __init__(self, count: int) -> None:
        self.groups: list[int | None] = [None] * count
        self.sums: list[Tensor] = []
        self.inputs: list[tuple[Tensor, int]] = []  # of the batch under way; held, so that identity means something

    def add(self, index: int, value: Tensor, module: nn.Module, batch: Batch) -> None:
        shared = next((group for held, group in self.inputs if held is value), None)
        if shared is not None:
            self.groups[index] = self.groups[index] if self.groups[index] is not None else shared
            if self.groups[index] == shared:
                return
        x = _unmasked(_as_rows(value, module), batch).to(torch.float32)
        group = self.groups[index]
        if group is None:
            group = self.groups[index] = len(self.sums)
            self.sums.append(torch.zeros(x.shape[1], x.shape[1], device=x.device))
        self.inputs.append((value, group))
        self.sums[group].addmm_(x.T, x)


def _gather(
    model: nn.Module, device: torch.device, units: Sequence[Unit], batches: Sequence[Batch]
) -> list[tuple[Unit, list[int | None], list[Tensor]]]:
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            users.setdefault(id(module.weight), []).append(module)
    parameters = dict(model.named_parameters())
    found = {unit.name: _Sums(len(unit.tensors)) for unit in units}
    current: list[Batch] = [{}]
    hooks = []

    def watch(sums: _Sums, index: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, given: sums.add(index, given[0], module, current[0])

    for unit in units:
        for index, name in enumerate(unit.tensors):
            for module in users.get(id(parameters[name]), []):
                hooks.append(module.register_forward_pre_hook(watch(found[unit.name], index)))
    try:
        with torch.no_grad():
            for batch in batches:
                current[0] = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                model(**_at_dtype(current[0], next(model.parameters()).dtype))
                for sums in found.values():
                    sums.inputs.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return [(unit, found[unit.name].groups, found[unit.name].sums) for unit in units]


def _at_dtype(batch: Batch, dtype: torch.dtype) -> dict[str, Any]:
    return {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in batch.items()}


def _as_rows(value: Tensor, module: nn.Module) -> Tensor:
    """Inputs as batch × places × inputs; for a convolution, the patch each output sees."""
    if isinstance(module, nn.Conv1d):
        value = nn.functional.pad(value, [int(module.padding[0])] * 2)
        patches = value.unfold(2, module.kernel_size[0], module.stride[0])  # batch, channels, places, kernel
        return patches.permute(0, 2, 1, 3).reshape(value.shape[0], patches.shape[2], -1)
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        size = module.kernel_size
        return nn.functional.unfold(value, size, padding=module.padding, stride=module.stride).transpose(1, 2)
    return value.reshape(1, -1, value.shape[-1]) if value.dim() < 3 else value


def _unmasked(x: Tensor, batch: Batch) -> Tensor:
    """Rows that are no padding, by whichever mask has their places or a multiple of them (strides, pooling)."""
    if x.dim() == 3:
        for name in _MASKS:
            mask = batch.get(name)
            if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[0] == x.shape[0]:
                stride, rest = divmod(mask.shape[1], x.shape[1])
                if rest == 0 and stride in (1, 2, 4):
                    return x[mask[:, ::stride].to(torch.bool)]
    return x.reshape(-1, x.shape[-1])
