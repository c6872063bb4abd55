"""The plain way: uniform policies, and mixtures of two neighbouring rates. Every search scores some of them first, so
that its front is never below them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from compress.sizes import Bin
from results.pareto import front_indices
from search.space.allocate import ActionCosts
from search.space.constraint import SizeConstraint
from search.space.space import Choice

LOW_END = 0.02  # share of a bin: the smallest mixture lies in it
GAP = 1 / 3  # of a bin: mixtures are put between sizes that are farther apart


class UniformPolicies:
    """The rates of a space as whole policies: every unit at one level, no layer dropped, the first vocabulary.

    `costs` are the sensitivities: levels that cost more bytes and more divergence than another are no rates, and
    within a mixture those units get the higher rate where it saves the most a byte.
    """

    def __init__(self, constraint: SizeConstraint, costs: ActionCosts) -> None:
        self.constraint, self.costs = constraint, costs
        space = constraint.space
        supported = np.isfinite(space.sizes)
        none_dropped = np.zeros(len(space.layers), dtype=bool)
        everywhere = np.flatnonzero(supported.any(axis=0))
        by_bytes = everywhere[np.argsort([_bytes_a_unit(space.sizes[:, column]) for column in everywhere])]
        choices = [Choice(_nearest(supported, by_bytes, at), none_dropped) for at in range(len(by_bytes))]
        points = [(float(space.variable_bytes(choice)), -costs.total(space, choice)) for choice in choices]
        self.rates = [choices[index] for index in sorted(front_indices(points), key=lambda index: points[index])]
        self.sizes = [constraint.size(choice) for choice in self.rates]

    def at_most(self, target: float, size_bin: Bin) -> Choice | None:
        """The mixture of two neighbouring rates that fills `target` bytes; None where the bin holds none so small."""
        below = [rate for rate, size in enumerate(self.sizes) if size <= target]
        if not below:
            return None
        pair = self.rates[below[-1] : below[-1] + 2]
        allowed = np.full_like(self.costs.levels, np.inf)
        rows = np.arange(len(allowed))
        for choice in pair:
            allowed[rows, choice.columns] = self.costs.levels[rows, choice.columns]
        only = np.full(len(self.constraint.space.vocabularies), np.inf)
        only[0] = 0.0
        costs = ActionCosts(allowed, np.full_like(self.costs.drops, np.inf), only)
        filled = self.constraint.fill(costs, target, size_bin)
        return filled if filled is not None and filled.vocabulary == 0 else None


def first_choices(constraint: SizeConstraint, costs: ActionCosts, bins: Sequence[Bin], most: int) -> list[Choice]:
    """What a search begins with, the most important first: the mixture that fills each bin to its top, the uniform
    policies inside, the smallest mixtures, and mixtures where sizes are far apart. At most `most`, one a bin at least
    where it holds any."""
    uniform, space = UniformPolicies(constraint, costs), constraint.space
    tops: list[Choice | None] = []
    lows: list[Choice | None] = []
    inside: list[Choice | None] = []
    between: list[Choice | None] = []
    for each in bins:
        width = each.high - each.low
        tops.append(uniform.at_most(each.high - 1, each))
        rates = [index for index, size in enumerate(uniform.sizes) if each.holds(size)]
        inside += [uniform.rates[index] for index in reversed(rates)]
        lows.append(uniform.at_most(each.low + LOW_END * width, each))
        known = [uniform.sizes[index] for index in rates]
        known += [constraint.size(choice) for choice in (tops[-1], lows[-1]) if choice is not None]
        between += [uniform.at_most(target, each) for target in _between(sorted(known), GAP * width)]
    choices: dict[bytes, Choice] = {}
    for choice in (*tops, *inside, *lows, *between):
        if choice is not None:
            choices.setdefault(space.key(choice), choice)
    return list(choices.values())[: max(most, len(bins))]


def _between(sizes: Sequence[int], gap: float) -> list[float]:
    """Targets that leave no two neighbours farther apart than `gap`."""
    targets = []
    for low, high in itertools.pairwise(sizes):
        pieces = int(np.ceil((high - low) / gap))
        targets += [low + (high - low) * piece / pieces for piece in range(1, pieces)]
    return targets


def _bytes_a_unit(sizes: np.ndarray) -> float:
    """Of a level, over the units that support it."""
    return float(sizes[np.isfinite(sizes)].mean())


def _nearest(supported: np.ndarray, columns: np.ndarray, at: int) -> np.ndarray:
    """For each unit, of the levels in `columns`, the one nearest to the `at`-th that it supports, the smaller first."""
    order = sorted(range(len(columns)), key=lambda index: (abs(index - at), index))
    ranked = supported[:, columns[order]]
    return columns[order][ranked.argmax(axis=1)]
