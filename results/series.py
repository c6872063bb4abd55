"""The series of a plot or table: the candidates of one recipe belong together, under one label.

Most recipes are one candidate. Iterative pruning is a candidate for each layer that it tried in each round, and
--score-drops one for each layer; a recovery method is one for each candidate that it trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from results.candidate import Candidate
from results.runs import ORIGINAL

SEARCH = "search"  # the recipe of candidates that the sampler suggested
PRUNING = "iterative-pruning"  # of every step of Moslem's pruning
SINGLE_DROP = "drop:"  # what recipes of --score-drops begin with
DROPS = "one layer dropped"  # their label


@dataclass(frozen=True)
class Series:
    """Scored candidates under one label, the one that the label belongs to first. `path`: those of them that were kept,
    in order, where a recipe is a sequence of steps; else empty."""

    label: str
    members: tuple[Candidate, ...]
    path: tuple[Candidate, ...] = ()


def label_of(candidate: Candidate) -> str:
    return DROPS if candidate.recipe.startswith(SINGLE_DROP) else candidate.recipe


def recipe_series(candidates: Iterable[Candidate]) -> list[Series]:
    """A series for each recipe with scored candidates, in their order; the original and the search are none."""
    by_label: dict[str, list[Candidate]] = {}
    for each in candidates:
        if each.comparable and each.recipe not in (SEARCH, ORIGINAL):
            by_label.setdefault(label_of(each), []).append(each)
    return [_series(label, members) for label, members in by_label.items()]


def _series(label: str, members: list[Candidate]) -> Series:
    path = pruning_path(members) if label == PRUNING else ()
    best = path[-1] if path else max(members, key=lambda c: (c.comet, -c.bytes))
    # By rising distance in bytes from the first, so that the label stays near it where there is no place beside it.
    others = sorted((c for c in members if c is not best), key=lambda c: abs(c.bytes - best.bytes))
    return Series(label, (best, *others), path)


def pruning_path(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Of the steps of iterative pruning those that it kept, a round after the other: the best chrF of each round, of
    equal ones that of the earliest layer. The last is what the recipe comes to."""
    kept: dict[int, Candidate] = {}
    for each in candidates:
        if each.recipe != PRUNING or not each.comparable:
            continue
        best = kept.get(each.layers_dropped)
        if best is None or _rank(each) < _rank(best):
            kept[each.layers_dropped] = each
    return tuple(kept[count] for count in sorted(kept))


def _rank(candidate: Candidate) -> tuple[float, list[tuple[int, str]]]:
    """By chrF, then by name with its numbers as numbers: lm.2 before lm.10."""
    parts = re.split(r"([0-9]+)", candidate.candidate)
    return -candidate.chrf, [(len(part) if part.isdecimal() else 0, part) for part in parts]
