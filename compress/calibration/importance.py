"""The importance of each output of each matrix: the mean square of the loss's gradient there (a diagonal Fisher).

The loss is the cross-entropy of tokens drawn from the model's own distribution at the target positions (those of the
translation), so its curvature is that of the KL to the original. It is measured on the model with noise on all weights,
about that of three bits: where the original is certain of a token its own gradient vanishes, and errors that a
compressed model makes there would count for nothing. One backward pass a batch and draw, for activations only. Layers
are checkpoints: for a large model the activations of a batch would be several times the memory of a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.model.checkpointing import checkpointed_layers
from compress.model.head import logits_at
from compress.model.structure import Unit
from compress.resident import Resident

DRAWS = 2  # passes over the batches, each with other noise and other tokens
NOISE = 0.12  # of the root mean square of each matrix


def output_importance(
    resident: Resident, units: Sequence[Unit], batches: Sequence[Mapping[str, Any]], target_masks: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Mean over all positions of the squared gradient, for each output (row) of each tensor, by the tensor's name.

    A row of the embedding is a token; its value is the mean over the dimensions. The resident is restored afterwards.
    """
    model = resident.model
    squares = _SquaredGradients()
    hooks = squares.watch(model, units)
    generator = torch.Generator(device=resident.device).manual_seed(0)
    try:
        for draw in range(DRAWS):
            resident.restore()
            resident.add_noise(NOISE, seed=draw)
            with torch.enable_grad(), checkpointed_layers(model, resident.source.structure):
                for batch, mask in zip(batches, target_masks, strict=True):
                    logits = logits_at(model, batch, mask).float()
                    probabilities = torch.softmax(logits.detach(), dim=-1)
                    drawn = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
                    nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()
    finally:
        for hook in hooks:
            hook.remove()
        resident.restore()
    return {name: total / squares.counts[name] for name, total in squares.totals.items()}


class _SquaredGradients:
    """Sums of squared gradients by tensor, and over how many positions."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def watch(self, model: nn.Module, units: Sequence[Unit]) -> list[Any]:
        """Hooks on every module that uses a matrix of the units."""
        parameters = dict(model.named_parameters())
        names = {id(parameters[name]): name for unit in units for name in unit.tensors}
        linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
        hooks = []
        for module in model.modules():
            if isinstance(module, nn.Embedding) and id(module.weight) in linear:
                continue  # tied: measured by its outputs as the head
            weight = getattr(module, "weight", None)
            if id(weight) in names and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)):
                hooks.append(module.register_forward_hook(self._hook(names[id(weight)])))
        return hooks

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            ids = inputs[0].detach() if isinstance(module, nn.Embedding) else None
            places = inputs[0].numel() // inputs[0].shape[-1]  # of the head, which multiplies only some of them, too
            output.register_hook(lambda gradient: self._add(name, module, gradient, places, ids))

        return hook

    def _add(self, name: str, module: nn.Module, gradient: Tensor, places: int, ids: Tensor | None) -> None:
        squares = gradient.detach().to(torch.float32).square()
        if ids is not None:
            weight: Any = module.weight
            # In main memory: on a GPU the order of additions is not the same each time.
            total = torch.zeros(weight.shape[0])
            total.index_add_(0, ids.reshape(-1).cpu(), squares.mean(-1).reshape(-1).cpu())
            total, count = total.to(squares.device), ids.numel()
        else:
            outputs = -1 if isinstance(module, nn.Linear) else 1  # convolutions put their outputs second
            total = squares.transpose(0, outputs).reshape(squares.shape[outputs], -1).sum(1)
            count = places if isinstance(module, nn.Linear) else squares.numel() // squares.shape[outputs]
        self.totals[name] = self.totals[name] + total if name in self.totals else total
        self.counts[name] = self.counts.get(name, 0) + count
