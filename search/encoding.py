"""Which variants a run needs, and the jobs that encode them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import compress
from cluster import jobs
from cluster.jobs import Job
from compress import Policy
from compress.errors import UserError
from compress.model.vocabulary import FULL

UnitLevel = tuple[str, str]
Item = TypeVar("Item")
JOBS_A_WORKER = 4


@dataclass(frozen=True)
class Variants:
    """What was encoded: the noise of each (unit, level), why others do not fit, and what the workers encoded with."""

    errors: dict[UnitLevel, float] = field(default_factory=dict)
    unsupported: dict[UnitLevel, str] = field(default_factory=dict)
    kernels: set[str] = field(default_factory=set)

    def add(self, outcome: dict[str, Any]) -> None:
        """What a job of encoding reports."""
        self.errors.update({(unit, level): error for unit, level, error in outcome.get("built", [])})
        self.unsupported.update({(unit, level): reason for unit, level, reason in outcome.get("unsupported", [])})
        self.kernels.update([outcome["kernels"]] if "kernels" in outcome else [])
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
    """Jobs of like size, the largest first. The levels of a unit stay together, so that its weights and the factors of
    its Hessians are made ready once; where they are too much for one job, as an embedding's, they are split."""
    by_unit: dict[str, list[str]] = {}
    for unit, level in pairs:
        by_unit.setdefault(unit, []).append(level)
    weights = {name: structure.unit(name).weights for name in by_unit}
    most = sum(weights[name] * len(levels) for name, levels in by_unit.items()) / (JOBS_A_WORKER * workers)
    pieces = [
        (weights[name] * len(some), [(name, level) for level in some])
        for name, levels in by_unit.items()
        for some in split(levels, max(1, int(most / weights[name])))
    ]
    packed = pack(pieces, most)
    rows = [(unit, level) for unit, level in pairs if structure.unit(unit).kind in ("embedding", "head")]
    smaller = [name for name in vocabularies if name != FULL]
    trimmed = [jobs.build([pair], calibration, name) for name in smaller for pair in rows]
    return trimmed + [jobs.build(piece, calibration) for piece in packed]


def split(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Pieces of like length, none longer than `most`."""
    count = -(-len(items) // most)
    return [items[len(items) * i // count : len(items) * (i + 1) // count] for i in range(count)]


def pack(pieces: Sequence[tuple[int, list[Item]]], most: float) -> list[list[Item]]:
    """Pieces, each with its size, joined while they are no larger than `most` together; the largest first."""
    packed: list[tuple[int, list[Item]]] = []
    for size, items in sorted(pieces, key=lambda piece: -piece[0]):
        if packed and packed[-1][0] + size <= most:
            packed[-1] = (packed[-1][0] + size, packed[-1][1] + items)
        else:
            packed.append((size, items))
    return [items for _, items in packed]
