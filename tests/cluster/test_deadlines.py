"""Deadlines follow what jobs of a kind took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.deadlines import FIRST, LEAST, TIMES, Deadlines


@given(st.lists(st.floats(0, 1e5), min_size=1))
def test_a_deadline_is_never_shorter_than_what_was_needed_before(seconds: list[float]) -> None:
    deadlines = Deadlines()
    assert deadlines.seconds("score") == FIRST
    for each in seconds:
        deadlines.ended("score", each)
    assert deadlines.seconds("score") == max(LEAST, TIMES * max(seconds))
    assert deadlines.seconds("encode") == FIRST
