"""Selecting from a front: the rules people use, each with its reason in words.

| rule | selects |
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
from results.pareto import front, knee_index
from results.runs import ORIGINAL, RunView

RULES = ("best", "best:SIZE", "best:BIN", "within:X", "knee", "like-original", "like:ID")
EXAMPLES = ("best", "within:0.01", "knee", "like-original")  # one of each kind
ALPHA = 0.05
WithTexts = Callable[[Sequence[str]], dict[str, Candidate]]  # candidates by name, with their scores of segments


@dataclass(frozen=True)
class Selection:
    """The candidate that a rule selects, and why."""

    rule: str
    candidate: Candidate
    why: str


def select(run: RunView, rule: str, bin_name: str | None = None) -> Selection:
    """Selects from all candidates of a run, or from those inside a bin."""
    return apply_rule(rule, run.candidates_in(bin_name), run.all_bins, run.with_texts)


def default_rules(run: RunView) -> Sequence[str]:
    """One rule of each kind, and the best for each bin of the run."""
    return (*(f"best:{each.name}" for each in run.bins if each.name.startswith("Bin")), *EXAMPLES)


def apply_rule(rule: str, candidates: Sequence[Candidate], bins: Sequence[Bin], with_texts: WithTexts) -> Selection:
    """Raises UserError for an unknown rule, and where no candidate satisfies it."""
    best = front(candidates)
    if not best:
        scored = sum(c.comparable for c in candidates)
        raise UserError(f"nothing to select from: {len(candidates)} candidates, {scored} of them scored")
    name, _, argument = rule.partition(":")
    if name == "best":
        return _best(rule, best, bins, argument)
    if name == "within" and argument:
        return _within(rule, best, argument)
    if rule == "knee":
        return _knee(rule, best)
    if rule == "like-original" or (name == "like" and argument):
        return _like(rule, best, argument or ORIGINAL, with_texts)
    raise UserError(f"unknown rule '{rule}': known are {', '.join(RULES)}")


def _best(rule: str, best: Sequence[Candidate], bins: Sequence[Bin], limit: str) -> Selection:
    low, high, where = 0, best[-1].bytes + 1, "of all"
    if any(limit == each.name for each in bins) or limit.startswith("Bin"):
        _, low, high = find_bin(limit, bins)
        where = f"inside {limit} ({low:,} to {high:,} bytes)"
    elif limit:
        high = parse_bytes(limit)
        where = f"under {high:,} bytes"
    inside = [c for c in best if low <= c.bytes < high]
    if not inside:
        raise UserError(f"rule {rule}: no candidate on the front is {where}; the smallest has {best[0].bytes:,} bytes")
    selected = max(inside, key=lambda c: c.comet)
    return Selection(rule, selected, f"the best COMET {where}: {selected.comet:.4f} at {selected.bytes:,} bytes")


def _within(rule: str, best: Sequence[Candidate], text: str) -> Selection:
    try:
        distance = float(text)
    except ValueError:
        distance = -1.0
    if not 0 <= distance < float("inf"):
        raise UserError(f"rule {rule}: '{text}' is not a distance; write within:0.01")
    top = best[-1]
    selected = next(c for c in best if c.comet >= top.comet - distance)
    why = (
        f"the smallest within {distance:g} COMET of the best ({top.candidate}, {top.comet:.4f} at {top.bytes:,} bytes):"
        f" {selected.comet:.4f} at {selected.bytes:,} bytes, {selected.bytes / top.bytes:.1%} of its size"
    )
    return Selection(rule, selected, why)


def _knee(rule: str, best: Sequence[Candidate]) -> Selection:
    if len(best) < 3:
        raise UserError(f"rule {rule}: a knee needs three candidates on the front, there are {len(best)}")
    selected = best[knee_index([(c.bytes, c.comet) for c in best])]
    why = (
        f"the knee of the front from {best[0].bytes:,} to {best[-1].bytes:,} bytes (log): past {selected.bytes:,} bytes"
        f" (COMET {selected.comet:.4f}) more bytes buy less than on average"
    )
    return Selection(rule, selected, why)


def _like(rule: str, best: Sequence[Candidate], other: str, with_texts: WithTexts) -> Selection:
    rows = with_texts([*(c.candidate for c in best), other])
    reference = rows.get(other)
    if reference is None or not reference.comparable or not reference.comet_segments:
        raise UserError(f"rule {rule}: there are no scores of '{other}' to compare with")
    for compared, c in enumerate(best, start=1):
        test = paired(rows[c.candidate].comet_segments, reference.comet_segments)
        if c.candidate == other or not (test.difference < 0 and test.p < ALPHA):
            why = (
                f"the smallest not significantly worse than {other} ({reference.comet:.4f}, {reference.bytes:,} bytes):"
                f" {c.comet:.4f} at {c.bytes:,} bytes, difference {test.difference:+.4f}"
                f" ({test.low:+.4f} to {test.high:+.4f}), p = {test.p:.3f}, paired bootstrap over"
                f" {len(reference.comet_segments)} segments, {compared} of {len(best)} compared, smallest first"
            )
            return Selection(rule, c, why)
    raise UserError(f"rule {rule}: every candidate on the front is significantly worse than {other} (p < {ALPHA:g})")
