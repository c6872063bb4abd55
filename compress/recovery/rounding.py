"""Training the integers of `grid@R`: the forward pass sees rounded weights, the gradient goes straight through.

What the model computes with while it trains is, value for value, what its artifact will decode to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.lattice import Lattice

GAIN = 20.0  # cells that a trained value of 1 moves: at a learning rate of 1e-3 a fiftieth of a cell an update


class Rounded(nn.Module):
    """step · centroid(round(integers + GAIN · moved))."""

    def __init__(self, lattice: Lattice, like: Tensor) -> None:
        super().__init__()
        self.moved = nn.Parameter(torch.zeros(lattice.integers.shape, device=like.device))
        self.begin, self.steps = lattice.integers.to(like.device), lattice.steps.to(like.device)
        self.lattice = lattice

    def integers(self) -> Tensor:
        return (self.begin + GAIN * self.moved).round()

    def forward(self, weight: Tensor) -> Tensor:
        shifted = self.begin + GAIN * self.moved
        value = self.lattice.values(shifted.round())
        return (self.steps * (shifted + (value - shifted).detach())).to(weight.dtype)


def add_rounding(model: Any, found: Mapping[str, Lattice]) -> dict[str, nn.Parameter]:
    """The named weights as rounded ones; returns what trains by the weight's name."""
    out = {}
    for name, lattice in found.items():
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        rounded = Rounded(lattice, getattr(module, last))
        parametrize.register_parametrization(module, last, rounded, unsafe=True)
        out[name] = rounded.moved
    return out


def take_integers(model: Any, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """Takes the rounding out again, the weights as they were; returns the integers reached by name."""
    out = {}
    for name in names:
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        rounded = module.parametrizations[last][0]
        out[name] = rounded.integers().detach().cpu()
        parametrize.remove_parametrizations(module, last, leave_parametrized=False)
    return out
