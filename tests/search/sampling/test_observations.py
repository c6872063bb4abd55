"""Observations: what is kept up to date is what a new computation from all of them gives."""

from __future__ import annotations

import numpy as np

from compress.sizes import Bin
from results.pareto import front_indices
from search.sampling.observations import Observations
from tests.search.worlds import some_choice, world


def test_lists_fronts_and_counts_are_those_of_all_observations() -> None:
    w = world(layers=8, seed=2)
    low, high = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    bins = (Bin("A", low, (low + high) // 2), Bin("B", (low + high) // 2, high + 1))
    observations = Observations(w.space, bins)
    expected: dict[int, tuple[int, float, float]] = {}  # seed of the choice → size, KL, COMET
    generator = np.random.default_rng(0)
    for n in range(200):
        seed, draw, value = n % 70, generator.random(), float(generator.random())
        choice = some_choice(w, seed)
        size, kl, comet = expected.get(seed, (w.constraint.size(choice), float("nan"), float("nan")))
        if draw < 0.6:
            observations.add_comet(choice, size, value)
            expected[seed] = (size, kl, value)
        elif draw < 0.9:
            assert observations.add_kl(choice, size, value) == np.isnan(kl), "only the first KL counts"
            expected[seed] = (size, value if np.isnan(kl) else kl, comet)
        else:
            observations.remove(choice)
            expected.pop(seed, None)
            assert observations.get(choice) is None
        assert observations.kls == sum(np.isfinite(kl) for _, kl, _ in expected.values())
        for size_bin in bins:
            inside = [each for each in expected.values() if size_bin.holds(each[0])]
            listed = [(each.size, each.kl, each.comet) for each in observations.inside(size_bin)]
            np.testing.assert_array_equal(sorted(listed), sorted(inside))
            points = [(size, comet) for size, _, comet in inside if np.isfinite(comet)]
            assert observations.front(size_bin) == [points[index] for index in front_indices(points)]
