"""Greedy pruning: the published number of evaluations, any order of answers, resumption, healing between rounds."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import compress
import embedded
from compress.errors import UserError
from search.iterative_pruning import Dropped, IterativePruning, lm_layers, run

LAYERS = tuple(f"lm.{index}" for index in range(32))


def worth(dropped: Dropped, seed: int = 0) -> float:
    """A made-up measure: layers do not simply add up."""
    costs = random.Random(seed).sample(range(1, 10_000), len(LAYERS))
    numbers = [int(name.split(".")[1]) for name in dropped]
    return -float(sum(costs[n] for n in numbers) + 3000 * sum(n + 1 in numbers for n in numbers))


def greedy(layers: tuple[str, ...], rounds: int, seed: int) -> Dropped:
    """The loop as the paper has it, written down again."""
    chosen: list[str] = []
    for _ in range(rounds):
        left = [layer for layer in layers[1:-1] if layer not in chosen]
        chosen.append(max(left, key=lambda layer: worth(tuple(sorted([*chosen, layer], key=layers.index)), seed)))
    return tuple(chosen)


def test_the_published_loop_takes_212_evaluations() -> None:
    pruning = IterativePruning(LAYERS, keep_first_last=True, rounds=8)
    count = 0
    while not pruning.done:
        asked = pruning.ask()
        assert all("lm.0" not in each and "lm.31" not in each for each in asked)
        for dropped in asked:
            pruning.tell(dropped, worth(dropped))
            count += 1
    assert count == pruning.evaluations == 212
    assert pruning.dropped == greedy(LAYERS, 8, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 9), st.integers(0, 99), st.randoms(use_true_random=False))
def test_answers_may_come_in_any_order_and_resuming_changes_nothing(length: int, seed: int, rng: random.Random) -> None:
    layers = LAYERS[:length]
    rounds = rng.randint(1, length - 2)
    pruning = IterativePruning(layers, rounds=rounds)
    while not pruning.done:
        asked = pruning.ask()
        rng.shuffle(asked)
        for dropped in asked[: rng.randint(1, len(asked))]:
            pruning.tell(dropped, worth(dropped, seed))
        again = IterativePruning(layers, rounds=rounds)
        for dropped, score in sorted(pruning.observations, key=lambda _: rng.random()):
            again.tell(dropped, score)
        assert (again.dropped, again.ask()) == (pruning.dropped, pruning.ask())
        pruning = again
    assert pruning.dropped == greedy(layers, rounds, seed)


def test_a_failed_evaluation_is_never_chosen() -> None:
    pruning = IterativePruning(LAYERS[:5], rounds=1)
    for dropped, score in zip(pruning.ask(), (math.nan, -5.0, -math.inf), strict=True):
        pruning.tell(dropped, score)
    assert pruning.dropped == ("lm.2",)
    broken = IterativePruning(LAYERS[:3], rounds=1)
    with pytest.raises(UserError, match="none of the 1 evaluations"):
        broken.tell(("lm.1",), math.nan)


def test_healing_stops_the_questions_until_the_model_is_trained() -> None:
    seen: list[tuple[Dropped, str]] = []

    def heal(dropped: Dropped, model: str) -> str:
        return f"{model}+{len(dropped)}"

    def measure(dropped: Dropped, model: str) -> float:
        seen.append((dropped, model))
        return worth(dropped)

    pruning = IterativePruning(LAYERS[:9], rounds=5, heal_every=2)
    run(pruning, measure, heal)
    assert {model for dropped, model in seen if len(dropped) <= 2} == {""}
    assert {model for dropped, model in seen if len(dropped) in (3, 4)} == {"+2"}
    assert {model for dropped, model in seen if len(dropped) == 5} == {"+2+4"}
    assert pruning.model == "+2+4+5"  # healed once more at the end
    waiting = IterativePruning(LAYERS[:4], rounds=2, heal_every=1)
    for dropped in waiting.ask():
        waiting.tell(dropped, worth(dropped))
    assert waiting.ask() == []
    assert waiting.heal is not None
    assert not waiting.done


def test_a_killed_run_goes_on_from_its_journal(tmp_path: Path) -> None:
    journal = tmp_path / "pruning.jsonl"
    calls = 0

    def measure(dropped: Dropped, _: str) -> float:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt
        return worth(dropped)

    def heal(dropped: Dropped, _: str) -> str:
        return f"healed-{len(dropped)}"

    with pytest.raises(KeyboardInterrupt):
        run(IterativePruning(LAYERS[:8], rounds=3, heal_every=1), measure, heal, journal)
    with journal.open("a", encoding="utf-8") as stream:
        stream.write('{"dropped": ["lm.')  # cut off in the middle of a line
    again = IterativePruning(LAYERS[:8], rounds=3, heal_every=1)
    run(again, measure, heal, journal)
    assert again.dropped == greedy(LAYERS[:8], 3, 0)
    assert calls - 1 == again.evaluations
    journal.write_text('{"what": 1}\n', encoding="utf-8")
    with pytest.raises(UserError, match="remove it to begin anew"):
        run(IterativePruning(LAYERS[:8], rounds=3), measure, None, journal)


@pytest.mark.parametrize(("length", "rounds", "both_ends"), [(4, 3, True), (4, 0, True), (2, 1, True), (3, 3, False)])
def test_too_much_pruning_is_refused(length: int, rounds: int, both_ends: bool) -> None:
    with pytest.raises(UserError, match="can go"):
        IterativePruning(LAYERS[:length], keep_first_last=both_ends, rounds=rounds)


def test_sets_of_other_models_are_refused() -> None:
    pruning = IterativePruning(LAYERS[:5], rounds=1)
    for wrong in (("lm.0",), ("audio.1",), ()):
        with pytest.raises(UserError, match="not among the layers"):
            pruning.tell(wrong, 1.0)


def test_only_layers_of_the_language_model_are_pruned() -> None:
    assert lm_layers(compress.Source.open(embedded.MODEL).structure) == tuple(f"lm.{index}" for index in range(12))
