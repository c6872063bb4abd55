"""Damaged and hostile run folders: read or refused in one line, never anything else. More: tests.fuzz."""

from __future__ import annotations

from pathlib import Path

from tests.results.fuzz import fuzz

ROUNDS = 120


def test_damage_is_refused_in_one_line(tmp_path: Path) -> None:
    outcomes = fuzz(ROUNDS, 7, tmp_path)
    assert outcomes.total() == ROUNDS
    assert sum(count for outcome, count in outcomes.items() if outcome.endswith("refused")) > ROUNDS / 4
    assert sum(count for outcome, count in outcomes.items() if outcome.endswith("read")) > ROUNDS / 20
