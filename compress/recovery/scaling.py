"""One trainable factor a matrix: what `grid@R` can take up without a byte more (`compress.codecs.grid.scales`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class ScaleFactor(nn.Module):
    """W · (1 + f)."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros((), dtype=torch.float32, device=like.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (1 + self.factor).to(weight.dtype)


def add_factors(model: Any, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """A factor for each named weight; returns the factors by the weight's name."""
    factors = {}
    for name in names:
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        factor = ScaleFactor(getattr(module, last))
        parametrize.register_parametrization(module, last, factor, unsafe=True)
        factors[name] = factor.factor
    return factors


def take_factors(model: Any, factors: dict[str, nn.Parameter]) -> dict[str, float]:
    """Takes the factors out of the model again, which then has its weights as before; returns 1 + f by name."""
    for name in factors:
        path, _, last = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(path), last, leave_parametrized=False)
    return {name: 1.0 + float(factor.detach()) for name, factor in factors.items()}
