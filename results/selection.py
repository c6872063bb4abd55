"""Choosing from a front: the rules people use, each with its reason in words. Pure functions on candidates.

| rule | takes |
|---|---|
| `best` | the best COMET |
| `best:SIZE`, `best:BIN` | the best COMET under so many bytes (`best:2GB`), or inside a bin (`best:Bin2`) |
| `within:X` | the smallest within X COMET of the best |
| `knee` | where more bytes begin to buy less COMET than on average |
| `like-original` | the smallest not significantly worse than the original (paired bootstrap over segments, p < 0.05) |
| `like:ID` | the same against another candidate |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.errors import UserError
from compress.sizes import Bin, find_bin, parse_bytes
from evaluate.metrics.significance import paired
from results.candidate import Candidate
from results.pareto import comparable, front, knee_index

RULES = ("best", "best:SIZE", "best:BIN", "within:X", "knee", "like-original", "like:ID")
ALPHA = 0.05
Full = Callable[[Sequence[str]], dict[str, Candidate]]  # candidates by name, with their scores of segments


@dataclass(frozen=True)
class Selection:
    """A row, by which rule, and why."""

    rule: str
    candidate: Candidate
    why: str


def choose(rule: str, candidates: Sequence[Candidate], bins: Sequence[Bin], full: Full) -> Selection:
    """The candidate a rule takes of those given. Refuses an unknown rule, and a front with nothing to take."""
    best = front(candidates)
    if not best:
        scored = sum(comparable(c) for c in candidates)
        raise UserError(f"nothing to choose from: {len(candidates)} candidates, {scored} of them scored")
    name, _, argument = rule.partition(":")
    if name == "best":
        return _best(rule, best, bins, argument)
    if name == "within" and argument:
        return _within(rule, best, _number(rule, argument))
    if rule == "knee":
        return _knee(rule, best)
    if rule == "like-original" or (name == "like" and argument):
        return _like(rule, best, argument or "original", full)
    raise UserError(f"unknown rule '{rule}': known are {', '.join(RULES)}")


def _best(rule: str, best: Sequence[Candidate], bins: Sequence[Bin], limit: str) -> Selection:
    low, high, told = 0, best[-1].bytes + 1, "of all"
    if any(limit == each[0] for each in bins) or limit.startswith("Bin"):
        _, low, high = find_bin(limit, tuple(bins))
        told = f"inside {limit} ({low:,} to {high:,} bytes)"
    elif limit:
        high = parse_bytes(limit)
        told = f"under {high:,} bytes"
    inside = [c for c in best if low <= c.bytes < high]
    if not inside:
        raise UserError(f"rule {rule}: no candidate on the front lies {told}; the smallest has {best[0].bytes:,} bytes")
    taken = max(inside, key=lambda c: c.comet)
    return Selection(rule, taken, f"the best COMET {told}: {taken.comet:.4f} at {taken.bytes:,} bytes")


def _within(rule: str, best: Sequence[Candidate], distance: float) -> Selection:
    top = best[-1]
    taken = next(c for c in best if c.comet >= top.comet - distance)
    why = (
        f"the smallest within {distance:g} COMET of the best ({top.candidate}, {top.comet:.4f} at {top.bytes:,} bytes):"
        f" {taken.comet:.4f} at {taken.bytes:,} bytes, {taken.bytes / top.bytes:.1%} of it"
    )
    return Selection(rule, taken, why)


def _knee(rule: str, best: Sequence[Candidate]) -> Selection:
    if len(best) < 3:
        raise UserError(f"rule {rule}: a knee needs three candidates on the front, there are {len(best)}")
    taken = best[knee_index([(c.bytes, c.comet) for c in best])]
    why = (
        f"the knee of the front from {best[0].bytes:,} to {best[-1].bytes:,} bytes (log): past {taken.bytes:,} bytes"
        f" (COMET {taken.comet:.4f}) more bytes buy less than on average"
    )
    return Selection(rule, taken, why)


def _like(rule: str, best: Sequence[Candidate], other: str, full: Full) -> Selection:
    rows = full([*(c.candidate for c in best), other])
    reference = rows.get(other)
    if reference is None or not comparable(reference) or not reference.comet_segments:
        raise UserError(f"rule {rule}: there are no scores of '{other}' to compare with")
    for tested, c in enumerate(best, start=1):
        found = paired(rows[c.candidate].comet_segments, reference.comet_segments)
        if c.candidate == other or not (found.difference < 0 and found.p < ALPHA):
            why = (
                f"the smallest not significantly worse than {other} ({reference.comet:.4f}, {reference.bytes:,} bytes):"
                f" {c.comet:.4f} at {c.bytes:,} bytes, difference {found.difference:+.4f}"
                f" ({found.low:+.4f} to {found.high:+.4f}), p = {found.p:.3f}, paired bootstrap over"
                f" {len(reference.comet_segments)} segments, {tested} of {len(best)} compared from the smallest up"
            )
            return Selection(rule, c, why)
    raise UserError(f"rule {rule}: every candidate on the front is significantly worse than {other} (p < {ALPHA:g})")


def _number(rule: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UserError(f"rule {rule}: '{text}' is no distance; write within:0.01")
    return found
