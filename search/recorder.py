"""Outcomes of jobs become rows of the table and members of the front. A score is on disk before the next is asked for.

Thousands of candidates must not slow the driver down nor fill its memory: rows that are kept here carry no
translations, and the fronts grow by one candidate at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import compress
from compress import Policy
from compress.model.vocabulary import trimmed_vocabulary
from compress.sizes import Bin, bin_of
from evaluate.metrics.significance import interval
from results.candidate import FAILED, HELD_OUT, PRUNED, SCORED, Candidate
from results.formats import write_front
from results.pareto import Front, hypervolume
from results.rows.storage import Table
from results.series import SEARCH
from search.run_dir import RunDir

NAN = math.nan


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy that was evaluated: its name in the table, where it comes from, and what is known of it beforehand."""

    name: str
    recipe: str
    policy: Policy
    bytes: int
    parameters: int  # that remain
    predicted: float  # COMET the sampler expects, 0 where it expects nothing
    attempts: int = 1
    audited: bool = False  # would have been pruned
    parent: str = ""


def parameters_left(source: compress.Source, policy: Policy, store: compress.Store) -> int:
    """Parameters that remain under a policy: dropped layers and tokens that go take theirs with them."""
    gone = sum(layer.parameters for layer in source.structure.layers if layer.name in policy.dropped)
    smaller = trimmed_vocabulary(source, policy.vocabulary, store)
    if smaller is not None:
        rows = [unit for unit in source.structure.units.values() if unit.kind in ("embedding", "head")]
        gone += sum(unit.parameters - smaller.resize(unit).parameters for unit in rows)
    return int(source.structure.parameters - gone)


class Recorder:
    """The memory of a run: every candidate so far, on disk and here."""

    def __init__(self, run_dir: RunDir, original_bytes: int, bins: tuple[Bin, ...]) -> None:
        self.run_dir = run_dir
        self.original_bytes = original_bytes
        self.bins = bins
        self.signature: Callable[[], str] = str  # set by the launcher; the scorers may still be starting
        self._signature = ""
        self.table = Table(run_dir.table)
        self.candidates: list[Candidate] = []
        self.followers: list[Callable[[Candidate], object]] = []  # called with every candidate that is recorded
        self._names: dict[str, int] = {}
        self.counts: dict[tuple[str, str], int] = {}  # (recipe, status) → how many
        self.whole = Front()  # its members keep their scores of segments
        self.inside = {each.name: Front() for each in bins}
        self.utterances = 0
        for candidate in self.table.read():
            self._keep(candidate)
        self.started = time.time() - max((c.seconds for c in self.candidates), default=0.0)

    def _keep(self, candidate: Candidate) -> bool:
        """Takes a candidate up; True if the front is another one now."""
        changed = self.whole.add(replace(candidate, hypotheses=()))
        for each in self.bins:
            if each.holds(candidate.bytes):
                self.inside[each.name].add(replace(candidate, hypotheses=(), comet_segments=()))
        self._names[candidate.candidate] = len(self.candidates)
        self.candidates.append(replace(candidate, hypotheses=(), comet_segments=()))
        key = (candidate.recipe, candidate.status)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.utterances += candidate.segments
        return changed

    def find(self, name: str) -> Candidate | None:
        at = self._names.get(name)
        return None if at is None else self.candidates[at]

    def searched(self) -> list[Candidate]:
        return [c for c in self.candidates if c.recipe == SEARCH]

    def count(self, status: str, recipe: str = SEARCH) -> int:
        return self.counts.get((recipe, status), 0)

    def record(self, evaluated: EvaluatedPolicy, outcome: dict[str, Any]) -> Candidate:
        """Adds a candidate to the table and renews the front."""
        candidate = self._candidate(evaluated, outcome)
        self.table.append([candidate])
        if self._keep(candidate):
            write_front(self.whole.members, self.run_dir.pareto)
        for follow in self.followers:
            follow(candidate)
        return candidate

    def _candidate(self, evaluated: EvaluatedPolicy, outcome: dict[str, Any]) -> Candidate:
        scores = outcome.get("comet_segments") or []
        error = str(outcome.get("error", ""))
        if not error and any(not math.isfinite(score) for score in scores):
            error = "COMET gave no number for some of its translations"
        pruned = bool(outcome.get("pruned")) and not error
        if not error and not pruned and not scores:
            error = "no scores came back"
        mean = sum(scores) / len(scores) if scores else NAN if pruned else 0.0
        low, high = interval(scores) if scores and not error else (mean, mean)
        return Candidate(
            candidate=evaluated.name,
            recipe=evaluated.recipe,
            bin=bin_of(evaluated.bytes, self.original_bytes),
            bytes=evaluated.bytes,
            comet=mean,
            comet_low=low,
            comet_high=high,
            chrf=float(outcome.get("chrf", 0.0)),
            bleu=float(outcome.get("bleu", 0.0)),
            segments=len(scores),
            parameters=evaluated.parameters,
            bits_per_weight=8 * evaluated.bytes / max(evaluated.parameters, 1),
            layers_dropped=len(evaluated.policy.dropped),
            vocabulary=evaluated.policy.vocabulary,
            cached_seconds_per_segment=float(outcome.get("translate_seconds", 0.0)) / max(len(scores), 1),
            policy=self.run_dir.save_policy(evaluated.policy),
            signature=self._signed(),
            status=FAILED if error else PRUNED if pruned else HELD_OUT if outcome.get("held_out") else SCORED,
            error=error[:500],
            rung=str(outcome.get("rung", "all")),
            parent=evaluated.parent,
            kl=float(outcome.get("kl", NAN)),
            attempts=evaluated.attempts,
            order=len(self.candidates) + 1,
            seconds=time.time() - self.started,
            predicted=evaluated.predicted,
            audited=evaluated.audited,
            comet_segments=tuple(scores),
            hypotheses=tuple(outcome.get("hypotheses", ())),
        )

    def _signed(self) -> str:
        if not self._signature:
            self._signature = self.signature()
        return self._signature

    def best(self) -> Candidate | None:
        """The best COMET inside the bins of this run."""
        tops = [front.members[-1] for front in self.inside.values() if front.members]
        return max(tops, key=lambda c: c.comet, default=None)

    def rival(self, size: int) -> Candidate | None:
        """Who stands on the front at a size: the best of at most these bytes, with its scores of segments."""
        best = None
        for member in self.whole.members:
            if member.bytes > size:
                break
            best = member
        return best

    def front(self) -> list[Candidate]:
        return list(self.whole.members)

    def hypervolume(self) -> float:
        """Share of (bin × the original's COMET) that the candidates inside the bins dominate."""
        original = self.find("original")
        top = original.comet if original is not None and original.comet > 0 else 1.0
        area = sum(
            hypervolume([(c.bytes, c.comet) for c in self.inside[each.name].members], (each.high, 0.0))
            for each in self.bins
        )
        total = sum((each.high - each.low) * top for each in self.bins)
        return area / total if total else 0.0
