"""How much each output of each matrix matters: the mean square of the loss's gradient there (a diagonal Fisher).

The loss is that of tokens drawn from the model's own distribution at the places that matter (those of the
translation), so its curvature is that of the KL to the original. One backward pass a batch, for activations
only: weights need no gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.anatomy import Unit

DRAWS = 2  # tokens drawn at each place


def output_importance(
    model: nn.Module,
    device: torch.device,
    units: Sequence[Unit],
    batches: Sequence[Mapping[str, Any]],
    places: Sequence[Tensor],
) -> dict[str, Tensor]:
    """Σ over all places of the squared gradient, for each output (row) of each tensor, by the tensor's name.

    For the embedding a row is a token, and what counts is the mean over its dimensions.
    """
    parameters = dict(model.named_parameters())
    names = {id(parameters[name]): name for unit in units for name in unit.tensors}
    found: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str, embedding: bool) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            ids = given[0].detach() if embedding else None
            output.register_hook(lambda gradient: _add(found, name, module, gradient, ids))

        return hook

    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    for module in model.modules():
        if isinstance(module, nn.Embedding) and id(module.weight) in linear:
            continue  # tied: its outputs as a head are what is measured
        weight = getattr(module, "weight", None)
        if id(weight) in names and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)):
            hooks.append(module.register_forward_hook(watch(names[id(weight)], isinstance(module, nn.Embedding))))
    generator = torch.Generator(device="cpu").manual_seed(0)
    try:
        with torch.enable_grad():
            for batch, place in zip(batches, places, strict=True):
                for _ in range(DRAWS):
                    logits = model(**batch).logits[place.to(device)].float()
                    shares = torch.softmax(logits.detach(), dim=-1).cpu()
                    drawn = torch.multinomial(shares, 1, generator=generator)[:, 0].to(device)
                    nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _add(found: dict[str, Tensor], name: str, module: nn.Module, gradient: Tensor, ids: Tensor | None) -> None:
    squares = gradient.detach().to(torch.float32).square()
    if ids is not None:
        weight: Any = module.weight
        total = torch.zeros(weight.shape[0], device=squares.device)
        total.index_add_(0, ids.reshape(-1), squares.mean(-1).reshape(-1))
    elif isinstance(module, nn.Linear):
        total = squares.reshape(-1, squares.shape[-1]).sum(0)
    else:  # convolutions put their outputs first
        total = squares.transpose(0, 1).reshape(squares.shape[1], -1).sum(1)
    found[name] = found[name] + total if name in found else total
