"""How much each output of each matrix matters: the mean square of the loss's gradient there (a diagonal Fisher).

The loss is that of tokens drawn from the model's own distribution at the places that matter (those of the
translation), so its curvature is that of the KL to the original. It is taken around the model and not at it, with
noise on all weights as about three bits leave it: where the original is sure of a token its gradient vanishes, and
what a damaged model gets wrong there would count for nothing. One backward pass a batch and draw, for activations
only: weights need no gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.model.structure import Unit
from compress.resident import Resident

DRAWS = 2  # passes over the batches, each with other noise and other tokens
NOISE = 0.12  # of the root mean square of each matrix


def output_importance(
    resident: Resident, units: Sequence[Unit], batches: Sequence[Mapping[str, Any]], places: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Mean over all places of the squared gradient, for each output (row) of each tensor, by the tensor's name.

    For the embedding a row is a token, and what counts is the mean over its dimensions. The model is as it was
    afterwards.
    """
    model, device = resident.model, resident.device
    sums = _Squares()
    hooks = sums.watch(model, units)
    generator = torch.Generator(device="cpu").manual_seed(0)
    try:
        for draw in range(DRAWS):
            resident.restore()
            resident.add_noise(NOISE, seed=draw)
            with torch.enable_grad():
                for batch, place in zip(batches, places, strict=True):
                    logits = model(**batch).logits[place.to(device)].float()
                    shares = torch.softmax(logits.detach(), dim=-1).cpu()
                    drawn = torch.multinomial(shares, 1, generator=generator)[:, 0].to(device)
                    nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()
    finally:
        for hook in hooks:
            hook.remove()
        resident.restore()
    return {name: total / sums.places[name] for name, total in sums.totals.items()}


class _Squares:
    """Sums of squared gradients, by tensor, and over how many places."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.places: dict[str, int] = {}

    def watch(self, model: nn.Module, units: Sequence[Unit]) -> list[Any]:
        """Hooks on every module that uses a matrix of the units."""
        parameters = dict(model.named_parameters())
        names = {id(parameters[name]): name for unit in units for name in unit.tensors}
        linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
        hooks = []
        for module in model.modules():
            if isinstance(module, nn.Embedding) and id(module.weight) in linear:
                continue  # tied: its outputs as a head are what is measured
            weight = getattr(module, "weight", None)
            if id(weight) in names and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)):
                hooks.append(module.register_forward_hook(self._hook(names[id(weight)])))
        return hooks

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            ids = given[0].detach() if isinstance(module, nn.Embedding) else None
            output.register_hook(lambda gradient: self._add(name, module, gradient, ids))

        return hook

    def _add(self, name: str, module: nn.Module, gradient: Tensor, ids: Tensor | None) -> None:
        squares = gradient.detach().to(torch.float32).square()
        if ids is not None:
            weight: Any = module.weight
            total = torch.zeros(weight.shape[0], device=squares.device)
            total.index_add_(0, ids.reshape(-1), squares.mean(-1).reshape(-1))
            places = ids.numel()
        else:
            outputs = -1 if isinstance(module, nn.Linear) else 1  # convolutions put their outputs second
            total = squares.transpose(0, outputs).reshape(squares.shape[outputs], -1).sum(1)
            places = squares.numel() // squares.shape[outputs]
        self.totals[name] = self.totals[name] + total if name in self.totals else total
        self.places[name] = self.places.get(name, 0) + places
