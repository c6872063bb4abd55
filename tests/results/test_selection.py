"""Selection: each rule selects what it says, and says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from compress.sizes import Bin, bin_of, bins_of, parse_bytes
from results.candidate import Candidate
from results.select import main
from results.selection import Selection, apply_rule
from tests.results.examples import candidate, make_run

BINS = [Bin("Bin1", 400, 1000), Bin("Bin2", 200, 400)]
CANDIDATES = [
    candidate("original", 1000, 0.90, recipe="original", comet_segments=(0.88, 0.92, 0.90, 0.90)),
    candidate("big", 500, 0.89, comet_segments=(0.95, 0.85, 0.80, 0.96)),
    candidate("middle", 300, 0.80, comet_segments=(0.78, 0.82, 0.80, 0.80)),
    candidate("small", 100, 0.30, comet_segments=(0.28, 0.32, 0.30, 0.30)),
    candidate("beaten", 350, 0.50, comet_segments=(0.5,) * 4),
    candidate("stopped", 50, 0.95, status="stopped", rung="part"),
]


def with_texts(names: Sequence[str]) -> dict[str, Candidate]:
    return {c.candidate: c for c in CANDIDATES if c.candidate in names}


def selected(rule: str, candidates: Sequence[Candidate] = CANDIDATES) -> Selection:
    return apply_rule(rule, candidates, BINS, with_texts)


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        ("best", "original"),
        ("best:1000", "big"),
        ("best:0.4KB", "middle"),
        ("best:Bin2", "middle"),
        ("within:0.011", "big"),
        ("within:0", "original"),
        ("within:0.5", "middle"),
        ("within:0.7", "small"),
        ("knee", "middle"),
        ("like-original", "big"),
        ("like:middle", "middle"),
    ],
)
def test_rules(rule: str, taken: str) -> None:
    assert selected(rule).candidate.candidate == taken
    assert selected(rule).rule == rule


def test_reasons_hold_the_figures() -> None:
    assert selected("best:Bin2").why == "the best COMET inside Bin2 (200 to 400 bytes): 0.8000 at 300 bytes"
    assert (
        "the best (original, 0.9000 at 1,000 bytes): 0.8900 at 500 bytes, 50.0% of its size"
        in selected("within:0.02").why
    )
    assert "difference -0.0100" in selected("like-original").why
    assert "paired bootstrap over 4 segments, 3 of 4 compared" in selected("like-original").why


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("best:50", "no candidate on the front is under 50 bytes; the smallest has 100 bytes"),
        ("best:Bin9", "unknown bin 'Bin9'"),
        ("best:much", "'much' is no size"),
        ("within", "unknown rule"),
        ("within:x", "'x' is not a distance"),
        ("within:-1", "'-1' is not a distance"),
        ("within:nan", "'nan' is not a distance"),
        ("smallest", "unknown rule 'smallest': known are best"),
        ("like:nobody", "no scores of 'nobody'"),
    ],
)
def test_what_cannot_be_meant(rule: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        selected(rule)


def test_nothing_to_select_from() -> None:
    with pytest.raises(UserError, match="1 candidates, 0 of them scored"):
        selected("best", CANDIDATES[-1:])
    with pytest.raises(UserError, match="a knee needs three"):
        selected("knee", CANDIDATES[:2])
    with pytest.raises(UserError, match="every candidate on the front is significantly worse"):
        selected("like-original", CANDIDATES[2:4])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(100, 999), st.floats(0, 1)), min_size=3, max_size=20), st.floats(0, 1))
def test_within_is_the_smallest_that_is_near_enough(points: list[tuple[int, float]], distance: float) -> None:
    candidates = [candidate(f"c{n}", size, comet) for n, (size, comet) in enumerate(points)]
    taken = apply_rule(f"within:{distance!r}", candidates, BINS, with_texts).candidate
    best = max(c.comet for c in candidates)
    near = [c.bytes for c in candidates if c.comet >= best - distance]
    assert taken.bytes == min(near)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("569412", 569_412),
        ("1,000", 1000),
        ("2GB", 2_000_000_000),
        ("1.5 MiB", 1_572_864),
        ("2e9", 2_000_000_000),
        ("3kb", 3000),
    ],
)
def test_sizes_as_people_write_them(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@settings(deadline=None)
@given(st.integers(0, 5_000_000_000))
def test_bins_are_half_open_and_shrink_with_the_model(size: int) -> None:
    limits = [("Bin5", 2e8), ("Bin4", 5e8), ("Bin3", 1e9), ("Bin2", 2e9), ("Bin1", 4e9)]
    assert bin_of(size, 16_794_189_824) == next((name for name, high in limits if size < high), "-")
    assert bins_of(16_794_189_824 // 1000)[1] == ("Bin2", 1_000_000, 2_000_000)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_run(tmp_path / "run", [c for c in CANDIDATES if c.candidate != "stopped"]))
    main([folder, "within:0.2", "--json"])
    row = json.loads(capsys.readouterr().out)
    assert (row["candidate"], row["bytes"], row["rule"]) == ("middle", 300, "within:0.2")
    main([folder])
    out = capsys.readouterr().out
    assert "knee: middle" in out
    assert "like-original: big" in out
    with pytest.raises(UserError, match="unknown bin"):
        main([folder, "best", "--bin", "Bin7"])
