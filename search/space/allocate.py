"""Fills a budget of bytes with the least damage: Lagrangian with bisection, then the last bytes greedily.

For a price λ of a byte each unit takes the level of least damage + λ·bytes, and a layer is dropped where that is
cheaper than keeping it. Damage adds up over units, so for every λ the answer is optimal at its own size; bisection
finds the λ whose size is just within the budget. O(units × levels) a step, twenty steps or so; for each vocabulary
anew, and the least damage of them is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from search.space.space import Choice, Space

STEPS = 40


@dataclass(frozen=True)
class Damage:
    """Estimated damage of every action, in any additive unit."""

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
    keep = price * space.unquantized
    inside = space.layer_of >= 0
    np.add.at(keep, space.layer_of[inside], per_unit[inside])
    return Choice(columns, space.droppable & (damage.drops < keep), vocabulary)


def fill(space: Space, damage: Damage, choice: Choice, budget: float) -> Choice:
    """Spends what is left of the budget on the upgrades that save the most damage a byte."""
    return fill_all(space, damage, [choice], budget)[0]


def fill_all(space: Space, damage: Damage, choices: Sequence[Choice], budget: float) -> list[Choice]:
    """The same of several choices, side by side: an upgrade of each at every step."""
    units = np.arange(len(space.units))
    columns = np.stack([choice.columns for choice in choices])
    sizes = np.stack([space.bytes_of(choice.vocabulary) for choice in choices])
    left = np.array([budget - space.weigh(choice) for choice in choices])
    each = np.arange(len(choices))
    more = sizes - sizes[each[:, None], units, columns][:, :, None]
    gain = _gains(damage.levels[units, columns][:, :, None] - damage.levels, more)
    gain[~np.stack([space.present(choice) for choice in choices])] = -np.inf
    while len(each):
        gain[more > left[:, None, None]] = -np.inf  # what cannot be paid now cannot be paid later
        flat = gain.reshape(len(each), -1)
        best = flat.argmax(axis=1)
        going = flat[np.arange(len(each)), best] > -np.inf
        if not going.all():
            each, best, left, more, gain, sizes = (x[going] for x in (each, best, left, more, gain, sizes))
            if not len(each):
                break
        at = np.arange(len(each))
        row, column = np.divmod(best, gain.shape[2])
        left = left - more[at, row, column]
        columns[each, row] = column
        more[at, row] = sizes[at, row] - sizes[at, row, column][:, None]
        gain[at, row] = _gains(damage.levels[row, column][:, None] - damage.levels[row], more[at, row])
    return [replace(choice, columns=columns[index]) for index, choice in enumerate(choices)]


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
