"""The candidates of one recipe are one series; of iterative pruning, the steps it kept are its path."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from results.series import DROPS, pruning_path, recipe_series
from search.iterative_pruning import IterativePruning, dropped_last
from tests.results.examples import candidate

LAYERS = tuple(f"lm.{n}" for n in range(12))


@given(st.randoms(use_true_random=False), st.integers(1, 5), st.integers(2, 40))
def test_the_path_is_what_the_pruning_chose(rng: random.Random, rounds: int, distinct: int) -> None:
    """Also where chrF is equal for many, and where the steps of a round were finished in any order."""
    pruning = IterativePruning(LAYERS, rounds=rounds)
    rows, chosen = [], []
    while not pruning.done:
        round_ = []
        for dropped in pruning.ask():
            name = f"pruned-{len(dropped)}-{dropped_last(dropped, pruning.dropped)}"
            chrf = float(rng.randrange(distinct))
            round_.append(
                (dropped, candidate(name, recipe="iterative-pruning", layers_dropped=len(dropped), chrf=chrf))
            )
        rng.shuffle(round_)
        for dropped, row in round_:
            pruning.tell(dropped, row.chrf)
        rows += [row for _, row in round_]
        chosen.append(f"pruned-{len(pruning.dropped)}-{pruning.dropped[-1]}")
    assert [c.candidate for c in pruning_path(rows)] == chosen


def test_a_step_that_failed_is_not_of_the_path() -> None:
    failed = candidate("pruned-1-lm.1", recipe="iterative-pruning", status="failed", chrf=99.0)
    kept = candidate("pruned-1-lm.2", recipe="iterative-pruning", chrf=1.0)
    assert pruning_path([failed, kept]) == (kept,)
    assert pruning_path([failed]) == ()


def test_a_recipe_is_a_series_whatever_it_consists_of() -> None:
    rows = [
        candidate("original", 9_000, 0.9, recipe="original"),
        candidate("int8", 5_000, 0.9, recipe="int8"),
        candidate("c1", 1_000, 0.5),
        candidate("drop:lm.1", 8_000, 0.4, recipe="drop:lm.1"),
        candidate("drop:lm.2", 8_001, 0.6, recipe="drop:lm.2"),
        candidate("pruned-1-lm.1", 8_000, 0.8, recipe="iterative-pruning", layers_dropped=1),
        candidate("pruned-2-lm.2", 7_000, 0.7, recipe="iterative-pruning", layers_dropped=2, chrf=20.0),
        candidate("pruned-2-lm.3", 7_010, 0.6, recipe="iterative-pruning", layers_dropped=2, chrf=30.0),
        candidate("broken", 0, 0.0, recipe="nf4", status="failed"),
    ]
    series = {each.label: each for each in recipe_series(rows)}
    assert list(series) == ["int8", DROPS, "iterative-pruning"]
    assert [c.candidate for c in series[DROPS].members] == ["drop:lm.2", "drop:lm.1"], "the best has the label"
    pruned = series["iterative-pruning"]
    assert [c.candidate for c in pruned.path] == ["pruned-1-lm.1", "pruned-2-lm.3"]
    assert [c.candidate for c in pruned.members] == ["pruned-2-lm.3", "pruned-2-lm.2", "pruned-1-lm.1"]
    assert series["int8"].path == ()
