"""Training the integers of `grid@R`: the forward pass sees rounded weights, the gradient goes straight through.

What the model computes with while it trains is, value for value, what its artifact will decode to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.codecs.grid.integers import QuantizedIntegers

GAIN = 20.0  # cells that a trained value of 1 moves: at a learning rate of 1e-3 a fiftieth of a cell an update


class Rounded(nn.Module):
    """step · centroid(round(integers + GAIN · moved))."""

    def __init__(self, lattice: QuantizedIntegers, like: Tensor) -> None:
        super().__init__()
        self.moved = nn.Parameter(torch.zeros(lattice.integers.shape, device=like.device))
        self.begin, self.steps = lattice.integers.to(like.device), lattice.steps.to(like.device)
        self.lattice = lattice

    def integers(self, outward: float = 0.5) -> Tensor:
        return settled(self.begin, GAIN * self.moved, outward)

    def forward(self, weight: Tensor) -> Tensor:
        shifted = self.begin + GAIN * self.moved
        value = self.lattice.values(shifted.round())
        return (self.steps * (shifted + (value - shifted).detach())).to(weight.dtype)


def settled(begin: Tensor, shift: Tensor, outward: float = 0.5) -> Tensor:
    """Integers after a shift. One that grows in magnitude, which costs bytes, does so from `outward` cells on."""
    near = (begin + shift).round()
    if outward <= 0.5:
        return near
    later = begin + shift.sign() * (shift.abs() + 1 - outward).floor().clamp(min=0)
    return torch.where(near.abs() > begin.abs(), later, near)


def add_rounding(model: Any, integers: Mapping[str, QuantizedIntegers]) -> dict[str, nn.Parameter]:
    """The named weights as rounded ones; returns what trains by the weight's name."""
    out = {}
    for name, lattice in integers.items():
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        rounded = Rounded(lattice, getattr(module, last))
        parametrize.register_parametrization(module, last, rounded, unsafe=True)
        out[name] = rounded.moved
    return out


def integers_now(model: Any, names: Iterable[str], outward: float = 0.5) -> dict[str, Tensor]:
    """The integers reached, by name."""
    out = {}
    for name in names:
        path, _, last = name.rpartition(".")
        out[name] = model.get_submodule(path).parametrizations[last][0].integers(outward).detach().cpu()
    return out


def take_integers(model: Any, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """Takes the rounding out again, the weights as they were; returns the integers reached by name."""
    out = integers_now(model, names)
    for name in names:
        path, _, last = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(path), last, leave_parametrized=False)
    return out


def within(limit: int, total: Callable[[float], int], rounds: int = 7) -> float:
    """The least `outward` (to a hundredth or so) whose total does not exceed a limit; infinite where none does."""
    if total(0.5) <= limit:
        return 0.5
    low, high = 0.5, 1.5
    while total(high) > limit:
        if high > 64:
            return math.inf
        low, high = high, 2 * high
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (low, middle) if total(middle) <= limit else (middle, high)
    return high
