"""Fills a budget of bytes with the least cost: Lagrangian with bisection, then the last bytes greedily.

For a price λ of a byte each unit takes the level of least cost + λ·bytes, and a layer is dropped where that is cheaper
than keeping it. Costs are additive over units, so for every λ the result is optimal at its own size; bisection finds
the λ whose size is just within the budget. O(units × levels) a step, about twenty steps; once for each vocabulary,
and the result of least cost is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from search.space.space import Choice, Space

STEPS = 40


@dataclass(frozen=True)
class ActionCosts:
    """A non-negative number for every action, additive over actions: KL of each alone (nats a token), or estimated
    damage."""

    levels: np.ndarray  # [unit, level]
    drops: np.ndarray  # [layer], infinite where a layer must stay
    trims: np.ndarray = field(default_factory=lambda: np.zeros(1))  # [vocabulary], 0 for the full one

    def total(self, space: Space, choice: Choice) -> float:
        present = space.present(choice)
        chosen = self.levels[np.arange(len(space.units)), choice.columns]
        return float(chosen[present].sum() + self.drops[choice.dropped].sum() + self.trims[choice.vocabulary])


def cheapest(space: Space, costs: ActionCosts, price: float, vocabulary: int = 0) -> Choice:
    """The choice of least cost + price × bytes under a vocabulary."""
    sizes = space.sizes_under(vocabulary)
    finite = np.isfinite(sizes)
    priced = np.where(finite, costs.levels + price * np.where(finite, sizes, 0.0), np.inf)
    columns = priced.argmin(axis=1)
    per_unit = priced[np.arange(len(columns)), columns]
    keep_cost = price * space.unquantized
    in_layer = space.layer_of >= 0
    np.add.at(keep_cost, space.layer_of[in_layer], per_unit[in_layer])
    return Choice(columns, space.droppable & (costs.drops < keep_cost), vocabulary)


def fill(space: Space, costs: ActionCosts, choices: Sequence[Choice], budget: float) -> list[Choice]:
    """Spends what each choice leaves of the budget on the upgrades that save the most cost a byte: one upgrade of
    every choice a step."""
    units = np.arange(len(space.units))
    columns = np.stack([choice.columns for choice in choices])
    sizes = np.stack([space.sizes_under(choice.vocabulary) for choice in choices])
    left = np.array([budget - space.variable_bytes(choice) for choice in choices])
    active = np.arange(len(choices))  # indices of choices that still have an upgrade
    extra = sizes - sizes[active[:, None], units, columns][:, :, None]
    gain = _gains(costs.levels[units, columns][:, :, None] - costs.levels, extra)
    gain[~np.stack([space.present(choice) for choice in choices])] = -np.inf
    while len(active):
        gain[extra > left[:, None, None]] = -np.inf  # what cannot be paid now cannot be paid later
        flat = gain.reshape(len(active), -1)
        best = flat.argmax(axis=1)
        upgradable = flat[np.arange(len(active)), best] > -np.inf
        if not upgradable.all():
            active, best, left, extra, gain, sizes = (x[upgradable] for x in (active, best, left, extra, gain, sizes))
            if not len(active):
                break
        at = np.arange(len(active))
        row, column = np.divmod(best, gain.shape[2])
        left = left - extra[at, row, column]
        columns[active, row] = column
        extra[at, row] = sizes[at, row] - sizes[at, row, column][:, None]
        gain[at, row] = _gains(costs.levels[row, column][:, None] - costs.levels[row], extra[at, row])
    return [replace(choice, columns=columns[index]) for index, choice in enumerate(choices)]


def _gains(saved: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Cost saved for each extra byte, minus infinity where nothing is saved or the level is not supported."""
    useful = np.isfinite(extra) & (saved > 0)
    return np.where(useful, saved / np.where(extra > 0, extra, 1e-9), -np.inf)


def allocate(space: Space, costs: ActionCosts, budget: float) -> Choice | None:
    """The choice of least cost within the budget, None if even the smallest one is above it."""
    choices = [_allocate(space, costs, budget, vocabulary) for vocabulary in range(len(space.vocabularies))]
    return min((c for c in choices if c is not None), key=lambda choice: costs.total(space, choice), default=None)


def _allocate(space: Space, costs: ActionCosts, budget: float, vocabulary: int) -> Choice | None:
    best = cheapest(space, costs, 1e12, vocabulary)
    if space.variable_bytes(best) > budget:
        return None
    low, high = 1e-15, 1e3  # prices of a byte: at `low` the choice is too large, at `high` it is within the budget
    larger: Choice | None = None
    for _ in range(STEPS):
        price = float(np.sqrt(low * high))
        choice = cheapest(space, costs, price, vocabulary)
        if space.variable_bytes(choice) <= budget:
            best, high = choice, price
        else:
            larger, low = choice, price
        if larger is not None and differences(best, larger) <= 1:
            break  # no price has a choice between them
    return fill(space, costs, [best], budget)[0]


def differences(first: Choice, second: Choice) -> int:
    """In how many levels and drops two choices differ."""
    return int(np.count_nonzero(first.columns != second.columns) + np.count_nonzero(first.dropped != second.dropped))
