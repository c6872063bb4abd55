"""Which variants a run needs, and the jobs that encode them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import compress
from cluster import jobs
from cluster.jobs import Job
from compress import Policy
from compress.errors import UserError
from compress.model.vocabulary import FULL

UnitLevel = tuple[str, str]


@dataclass(frozen=True)
class Variants:
    """What was encoded: the noise of each (unit, level), and why others do not fit."""

    errors: dict[UnitLevel, float]
    unsupported: dict[UnitLevel, str]

    def add(self, outcome: dict[str, Any]) -> None:
        """What a job of encoding reports."""
        self.errors.update({(unit, level): error for unit, level, error in outcome.get("built", [])})
        self.unsupported.update({(unit, level): reason for unit, level, reason in outcome.get("unsupported", [])})
        if "error" in outcome:
            raise UserError(f"encoding failed: {outcome['error']}")

    @property
    def levels(self) -> list[str]:
        return sorted({level for _, level in self.errors})


def needed(structure: compress.Structure, levels: Sequence[str], policies: Iterable[Policy]) -> list[UnitLevel]:
    """Every unit at every level to choose from, and what the policies have besides."""
    pairs = {(unit, level) for unit in structure.units for level in levels}
    return sorted(pairs | {pair for policy in policies for pair in policy.levels.items()})


def encoding_jobs(
    structure: compress.Structure,
    pairs: Sequence[UnitLevel],
    calibration: str,
    vocabularies: Sequence[str],
    workers: int,
) -> list[Job]:
    """Jobs of like size: a unit's levels stay together, big and small units are mixed."""
    by_unit: dict[str, list[UnitLevel]] = {}
    for unit, level in pairs:
        by_unit.setdefault(unit, []).append((unit, level))
    work = list(by_unit.values())
    random.Random(0).shuffle(work)
    size = max(1, -(-len(work) // (4 * workers)))
    pieces = [[pair for unit in work[start : start + size] for pair in unit] for start in range(0, len(work), size)]
    rows = [mine for unit, mine in by_unit.items() if structure.unit(unit).kind in ("embedding", "head")]
    smaller = [name for name in vocabularies if name != FULL]
    trimmed = [jobs.build(mine, calibration, name) for name in smaller for mine in rows]
    return trimmed + [jobs.build(piece, calibration) for piece in pieces]
