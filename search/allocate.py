"""Fills a budget of bytes with the least damage: Lagrangian with bisection, then the last bytes greedily.

For a price λ of a byte each unit takes the level of least damage + λ·bytes, and a layer is dropped where that is
cheaper than keeping it. Damage adds up over units, so for every λ the answer is optimal at its own size; bisection
finds the λ whose size is just within the budget. O(units × levels) a step, twenty steps or so; for each vocabulary anew,
and the least damage of them is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from search.space import Choice, Space

STEPS = 40


@dataclass(frozen=True)
class Damage:
    """Estimated damage of every treatment, in any additive unit."""

    levels: np.ndarray  # [unit, level]
    drops: np.ndarray  # [layer], infinite where a layer must stay
    trims: np.ndarray = field(default_factory=lambda: np.zeros(1))  # [vocabulary], 0 for the whole one

    def of(self, space: Space, choice: Choice) -> float:
        present = space.present(choice)
        chosen = self.levels[np.arange(len(space.units)), choice.columns]
        return float(chosen[present].sum() + self.drops[choice.dropped].sum() + self.trims[choice.vocabulary])


def cheapest(space: Space, damage: Damage, price: float, vocabulary: int = 0) -> Choice:
    """The choice of least damage + price × bytes under a vocabulary."""
    sizes = space.bytes_of(vocabulary)
    finite = np.isfinite(sizes)
    cost = np.where(finite, damage.levels + price * np.where(finite, sizes, 0.0), np.inf)
    columns = cost.argmin(axis=1)
    per_unit = cost[np.arange(len(columns)), columns]
    keep = price * space.kept
    inside = space.layer_of >= 0
    np.add.at(keep, space.layer_of[inside], per_unit[inside])
    return Choice(columns, space.droppable & (damage.drops < keep), vocabulary)


def fill(space: Space, damage: Damage, choice: Choice, budget: float) -> Choice:
    """Spends what is left of the budget on the upgrades that save the most damage a byte."""
    rows = np.arange(len(space.units))
    columns = choice.columns.copy()
    left = budget - space.weigh(choice)
    sizes = space.bytes_of(choice.vocabulary)
    more = sizes - sizes[rows, columns][:, None]
    gain = _gains(damage.levels[rows, columns][:, None] - damage.levels, more)
    gain[~space.present(choice)] = -np.inf
    while True:
        gain[more > left] = -np.inf  # what cannot be paid now cannot be paid later
        row, column = divmod(int(gain.argmax()), gain.shape[1])
        if gain[row, column] == -np.inf:
            return Choice(columns, choice.dropped, choice.vocabulary)
        left -= more[row, column]
        columns[row] = column
        more[row] = sizes[row] - sizes[row, column]
        gain[row] = _gains(damage.levels[row, column] - damage.levels[row], more[row])


def _gains(less: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Damage saved a byte, minus infinity where nothing is saved or the level does not fit."""
    useful = np.isfinite(more) & (less > 0)
    return np.where(useful, less / np.where(more > 0, more, 1e-9), -np.inf)


def allocate(space: Space, damage: Damage, budget: float) -> Choice | None:
    """The choice of least damage within the budget, None if even the smallest one is above it."""
    found = [_allocate(space, damage, budget, vocabulary) for vocabulary in range(len(space.vocabularies))]
    return min((c for c in found if c is not None), key=lambda choice: damage.of(space, choice), default=None)


def _allocate(space: Space, damage: Damage, budget: float, vocabulary: int) -> Choice | None:
    best = cheapest(space, damage, 1e12, vocabulary)
    if space.weigh(best) > budget:
        return None
    low, high = 1e-15, 1e3  # a byte's price: too big a choice at low, one that fits at high
    bigger: Choice | None = None
    for _ in range(STEPS):
        price = float(np.sqrt(low * high))
        choice = cheapest(space, damage, price, vocabulary)
        if space.weigh(choice) <= budget:
            best, high = choice, price
        else:
            bigger, low = choice, price
        if bigger is not None and apart(best, bigger) <= 1:
            break  # no price has a choice between them
    return fill(space, damage, best, budget)


def apart(one: Choice, other: Choice) -> int:
    """In how many levels and drops two choices differ."""
    return int(np.count_nonzero(one.columns != other.columns) + np.count_nonzero(one.dropped != other.dropped))
