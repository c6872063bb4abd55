"""What data may be used for what: eval is never chosen on, constrained is ACL 60/60 only, talks stay whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from evaluate.data.conditions import CHOICES, check_condition, check_disjoint, split_by_talk, talks_of
from evaluate.data.open import open_data
from evaluate.data.types import DataSet, Segment


def made(talks: list[str], origin: str = "other", split: str = "dev") -> DataSet:
    segments = [Segment(str(n), talk, None, f"source {n}", f"target {n}") for n, talk in enumerate(talks)]
    return DataSet("made", split, "en-de", tuple(segments), origin)


@pytest.mark.parametrize("purpose", CHOICES)
@pytest.mark.parametrize("condition", ["constrained", "unconstrained"])
def test_nothing_is_chosen_on_eval(purpose: str, condition: str) -> None:
    for origin in ("acl6060", "other", "embedded"):
        with pytest.raises(UserError, match="on the eval split"):
            check_condition(condition, made(["a"], origin, "eval"), purpose)
        assert check_condition("unconstrained", made(["a"], origin, "eval"), "reporting")


@pytest.mark.parametrize("purpose", CHOICES)
def test_constrained_is_acl_60_60_only(purpose: str) -> None:
    assert check_condition("constrained", made(["a"], "acl6060"), purpose) == "constrained"
    with pytest.raises(UserError, match="only ACL 60/60"):
        check_condition("constrained", made(["a"]), purpose)
    assert check_condition("unconstrained", made(["a"]), purpose) == "unconstrained"


def test_the_embedded_set_has_a_label_of_its_own() -> None:
    data = open_data("embedded", "dev", "en-zh")
    assert data.origin == "embedded"
    label = check_condition("constrained", data, "search")
    assert label.startswith("embedded")
    assert label == check_condition("unconstrained", data, "search")


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UserError, match="unknown condition 'free'"):
        check_condition("free", made(["a"]), "search")
    with pytest.raises(UserError, match="unknown purpose 'fun'"):
        check_condition("constrained", made(["a"]), "fun")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_a_split_keeps_talks_whole_and_loses_nothing(talks: list[str], share: float) -> None:
    data = made(talks)
    if len(set(talks)) < 2:
        with pytest.raises(UserError, match="one talk only"):
            split_by_talk(data, share)
        return
    tuning, reporting = split_by_talk(data, share)
    assert tuning.segments
    assert reporting.segments
    assert not set(talks_of(tuning)) & set(talks_of(reporting))
    assert sorted([*tuning.segments, *reporting.segments], key=lambda s: int(s.id)) == list(data.segments)
    check_disjoint(tuning, reporting)


def test_the_share_is_met_where_talks_allow_it() -> None:
    tuning, reporting = split_by_talk(made(["a"] * 30 + ["b"] * 30 + ["c"] * 20 + ["d"] * 20), 0.5)
    assert len(tuning.segments) == len(reporting.segments) == 50


def test_unknown_talks_cannot_be_kept_apart() -> None:
    with pytest.raises(UserError, match="talk of 1 segments is not known"):
        split_by_talk(made(["a", "b", ""]), 0.5)


def test_shared_talks_sounds_and_sentences_are_found() -> None:
    with pytest.raises(UserError, match="share 1 talks, such as 'b'"):
        check_disjoint(made(["a", "b"]), made(["b", "c"]))
    long = Segment("1", "", None, "one two three four five six", "eins")
    data = replace(made([]), segments=(long,))
    with pytest.raises(UserError, match="share 1 sentences"):
        check_disjoint(data, replace(data, segments=(replace(long, id="2"),)))
    short = replace(data, segments=(replace(long, source="Thank you."),))
    check_disjoint(short, short)


def test_dev_and_eval_of_the_embedded_set_share_no_talk() -> None:
    check_disjoint(open_data("embedded", "dev", "en-zh"), open_data("embedded", "eval", "en-zh"))
