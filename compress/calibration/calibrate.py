"""Calibration: one Hessian XᵀX for each distinct input of the matrices of a model.

They are gathered from the uncompressed model, so that no unit's variant depends on another's. One pass over the data
gathers as many as fit in the given memory; the next pass takes the next units. They are stored under a digest of the
model and the data, and gathered once. Where a GPU runs out of memory, batches are halved and the pass begins again.
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
from compress.memory import FittingRows, free_memory
from compress.model.head import run_without_logits
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store
from compress.resident import Resident

Batch = Mapping[str, Any]  # arguments of the model's forward: what its processor returns

_FORMAT = 3
_TARGETS = "targets"  # the mask of a batch, while it is split with the batch
_MASKS = ("attention_mask", "feature_attention_mask")
HESSIAN_MEMORY = 2 << 30  # at least, in main memory
HESSIAN_SHARE = {"cuda": 0.6, "cpu": 0.25}  # of the memory that is free; the rest is for the pass itself


def calibrate(
    source: Source,
    batches: Sequence[Batch],
    store: Store,
    *,
    target_masks: Sequence[Tensor] | None = None,
    resident: Resident | None = None,
    memory: int = 0,
    fitting: FittingRows | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Gather the Hessians of every unit into the store and return the digest that identifies them.

    Args:
        batches: inputs of the original model as the processor made them, with the wanted output after the prompt.
        target_masks: for each batch, the positions (batch × length) whose next token is part of the output. With them
            the importance of every output is measured too, by two backward passes a batch, for error feedback.
        resident: a resident whose model and device are used; it is restored first.
        memory: bytes of Hessians held at once; 0 for a share of what is free on the device.
        fitting: what is known of how many rows of a batch fit in memory.
        progress: called with the passes done and in total.
    """
    if not batches:
        raise UserError("calibration needs at least one batch of inputs")
    if target_masks is not None and len(target_masks) != len(batches):
        raise UserError(f"{len(target_masks)} target masks for {len(batches)} batches")
    digest = calibration_digest(source, batches, target_masks)
    missing = [unit for unit in source.structure.units.values() if store.size(hessian_key(digest, unit)) is None]
    if not missing:
        return digest
    if resident is None:
        resident = Resident(source, store)
    resident.restore()
    fitting = fitting or FittingRows()
    largest = max(map(_rows, batches))
    importance: dict[str, Tensor] = {}
    if target_masks is not None:
        with_masks = [{**batch, _TARGETS: mask} for batch, mask in zip(batches, target_masks, strict=True)]

        def measure(rows: int) -> dict[str, Tensor]:
            smaller = [_on_device(piece, resident) for piece in _split(with_masks, rows)]
            return output_importance(resident, missing, smaller, [piece.pop(_TARGETS) for piece in smaller])

        importance = fitting.run(measure, largest)
    passes = _passes(missing, memory or _free_for_hessians(resident.device))
    for done, units in enumerate(passes):
        if progress is not None:
            progress(done, len(passes))
        gathered = fitting.run(lambda rows, units=units: _gather(resident, units, _split(batches, rows)), largest)  # type: ignore[misc]
        for unit, groups, hessians in gathered:
            if unit.kind == "embedding" and not hessians and unit.tensors[0] in importance:
                groups, hessians = [0], [torch.eye(unit.shapes[0][1])]  # its inputs are one-hot: one token at a time
            blob = hessians_to_bytes(groups, hessians, [importance.get(name) for name in unit.tensors])
            store.put(hessian_key(digest, unit), blob)
    return digest


def calibration_digest(source: Source, batches: Sequence[Batch], target_masks: Sequence[Tensor] | None = None) -> str:
    """Identifies a calibration: a hash of the model and every input."""
    state = hashlib.blake2b(f"{_FORMAT}:{source.digest}".encode(), digest_size=16)
    for batch in [*batches, *({"places": mask} for mask in target_masks or ())]:
        for name in sorted(batch):
            value = batch[name]
            if isinstance(value, Tensor):
                state.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
                state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _on_device(batch: Batch, resident: Resident) -> dict[str, Any]:
    """The batch on the model's device, floating-point inputs at its dtype."""

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(resident.device, resident.dtype if value.is_floating_point() else value.dtype)

    return {name: move(value) for name, value in batch.items()}


def _rows(batch: Batch) -> int:
    return max(len(value) for value in batch.values() if isinstance(value, Tensor))


def _split(batches: Sequence[Batch], rows: int) -> list[dict[str, Any]]:
    """The batches, those with more rows in pieces."""
    pieces = []
    for batch in batches:
        for start in range(0, _rows(batch), rows):
            part = slice(start, start + rows)
            pieces.append({n: value[part] if isinstance(value, Tensor) else value for n, value in batch.items()})
    return pieces


def _free_for_hessians(device: torch.device) -> int:
    if device.type == "cuda":
        return int(HESSIAN_SHARE["cuda"] * torch.cuda.mem_get_info(device)[0])
    return max(HESSIAN_MEMORY, int(HESSIAN_SHARE["cpu"] * free_memory()))


def _passes(units: Sequence[Unit], memory: int) -> list[list[Unit]]:
    """Units in groups whose Hessians fit in memory together; a unit too large for it is a group of its own."""
    passes: list[list[Unit]] = []
    free = -1
    for unit in units:
        needed = 0 if unit.kind == "embedding" else sum(4 * _width(shape) ** 2 for shape in unit.shapes)
        if needed > free:
            passes.append([])
            free = memory
        passes[-1].append(unit)
        free -= needed
    return passes


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:]))


class _HessianSums:
    """XᵀX of one unit's matrices; matrices whose inputs are the same object share one sum."""

    def __init__(self, count: int) -> None:
        self.groups: list[int | None] = [None] * count  # index into `sums` of each matrix
        self.sums: list[Tensor] = []
        self.inputs: list[tuple[Tensor, int]] = []  # of the current batch; held so that identity is meaningful

    def add(self, index: int, value: Tensor, module: nn.Module, batch: Batch) -> None:
        shared = next((group for tensor, group in self.inputs if tensor is value), None)
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
    resident: Resident, units: Sequence[Unit], batches: Sequence[Batch]
) -> list[tuple[Unit, list[int | None], list[Tensor]]]:
    """Run the batches. Returns, for each unit, the group of each matrix and the Hessian of each group."""
    model = resident.model
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            users.setdefault(id(module.weight), []).append(module)
    parameters = dict(model.named_parameters())
    sums_of = {unit.name: _HessianSums(len(unit.tensors)) for unit in units}
    current: Batch = {}
    hooks = []

    def watch(sums: _HessianSums, index: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, inputs: sums.add(index, inputs[0], module, current)

    for unit in units:
        for index, name in enumerate(unit.tensors):
            for module in users.get(id(parameters[name]), []):
                hooks.append(module.register_forward_pre_hook(watch(sums_of[unit.name], index)))
    try:
        with torch.no_grad():
            for batch in batches:
                current = _on_device(batch, resident)
                run_without_logits(model, current)
                for sums in sums_of.values():
                    sums.inputs.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return [(unit, sums_of[unit.name].groups, sums_of[unit.name].sums) for unit in units]


def _as_rows(value: Tensor, module: nn.Module) -> Tensor:
    """Inputs as batch × positions × features; for a convolution, the patch of each output."""
    if isinstance(module, nn.Conv1d):
        value = nn.functional.pad(value, [int(module.padding[0])] * 2)
        patches = value.unfold(2, module.kernel_size[0], module.stride[0])  # batch, channels, positions, kernel
        return patches.permute(0, 2, 1, 3).reshape(value.shape[0], patches.shape[2], -1)
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        size = module.kernel_size
        return nn.functional.unfold(value, size, padding=module.padding, stride=module.stride).transpose(1, 2)
    return value.reshape(1, -1, value.shape[-1]) if value.dim() < 3 else value


def _unmasked(x: Tensor, batch: Batch) -> Tensor:
    """Rows without padding, by the mask that has as many positions or a multiple of them (strides, pooling)."""
    if x.dim() == 3:
        for name in _MASKS:
            mask = batch.get(name)
            if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[0] == x.shape[0]:
                stride, rest = divmod(mask.shape[1], x.shape[1])
                if rest == 0 and stride in (1, 2, 4):
                    return x[mask[:, ::stride].to(torch.bool)]
    return x.reshape(-1, x.shape[-1])
