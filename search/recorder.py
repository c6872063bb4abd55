"""Outcomes of jobs → rows of the table, the front, the journal. What was scored is on disk before the next is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compress import Policy
from evaluate.metrics import interval
from results.candidate import FAILED, SCORED, Candidate
from results.front import front, hypervolume
from results.pareto import write_front
from results.table import Table
from search.bins import Bin, bin_of
from search.folder import RunFolder


@dataclass(frozen=True)
class Tried:
    """A policy that was tried: its name in the table, where it comes from, and what is known of it beforehand."""

    name: str
    recipe: str
    policy: Policy
    bytes: int
    parameters: int  # that remain
    predicted: float  # COMET the sampler expects, 0 where it expects nothing


class Recorder:
    """The memory of a run: every candidate so far, on disk and here."""

    def __init__(self, folder: RunFolder, original_bytes: int, bins: tuple[Bin, ...]) -> None:
        self.folder = folder
        self.original_bytes = original_bytes
        self.bins = bins
        self.signature: Callable[[], str] = str  # set by the launcher; the scorers may still be starting
        self._signature = ""
        self.table = Table(folder.table)
        self.candidates = self.table.read()
        self.started = time.time() - max((c.seconds for c in self.candidates), default=0.0)

    def find(self, name: str) -> Candidate | None:
        return next((c for c in self.candidates if c.candidate == name), None)

    def searched(self) -> list[Candidate]:
        return [c for c in self.candidates if c.recipe == "search"]

    def record(self, tried: Tried, outcome: dict[str, Any]) -> Candidate:
        """Adds a candidate to the table and renews the front."""
        candidate = self._candidate(tried, outcome)
        self.table.append([candidate])
        self.candidates.append(candidate)
        write_front(self.candidates, self.folder.pareto)
        return candidate

    def _candidate(self, tried: Tried, outcome: dict[str, Any]) -> Candidate:
        scores = outcome.get("comet_segments") or []
        error = str(outcome.get("error", ""))
        mean = sum(scores) / len(scores) if scores else 0.0
        low, high = interval(scores) if scores else (0.0, 0.0)
        return Candidate(
            candidate=tried.name,
            recipe=tried.recipe,
            bin=bin_of(tried.bytes, self.original_bytes),
            bytes=tried.bytes,
            comet=mean,
            comet_low=low,
            comet_high=high,
            chrf=float(outcome.get("chrf", 0.0)),
            bleu=float(outcome.get("bleu", 0.0)),
            segments=len(scores),
            parameters=tried.parameters,
            bits_per_weight=8 * tried.bytes / max(tried.parameters, 1),
            layers_dropped=len(tried.policy.dropped),
            vocabulary=tried.policy.vocabulary,
            seconds_per_segment=float(outcome.get("translate_seconds", 0.0)) / max(len(scores), 1),
            policy=self.folder.save_policy(tried.policy),
            signature=self._signed(),
            status=FAILED if error or not scores else SCORED,
            error=error[:500],
            order=len(self.candidates) + 1,
            seconds=time.time() - self.started,
            predicted=tried.predicted,
            comet_segments=tuple(scores),
            hypotheses=tuple(outcome.get("hypotheses", ())),
        )

    def _signed(self) -> str:
        if not self._signature:
            self._signature = self.signature()
        return self._signature

    def best(self) -> Candidate | None:
        """The best COMET inside the bins of this run."""
        inside = [c for c in self.candidates if c.status == SCORED and any(b.holds(c.bytes) for b in self.bins)]
        return max(inside, key=lambda c: c.comet, default=None)

    def front(self) -> list[Candidate]:
        return front(self.candidates)

    def hypervolume(self) -> float:
        """Share of (bin × the original's COMET) that the candidates inside the bins dominate."""
        original = self.find("original")
        top = original.comet if original is not None and original.comet > 0 else 1.0
        total = area = 0.0
        for each in self.bins:
            inside = [(c.bytes, c.comet) for c in self.candidates if c.status == SCORED and each.holds(c.bytes)]
            area += hypervolume(inside, (each.high, 0.0))
            total += (each.high - each.low) * top
        return area / total if total else 0.0
