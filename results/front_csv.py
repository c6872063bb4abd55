"""`pareto.csv`: the file people select from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from results.atomic_write import write_atomically
from results.candidate import CSV_COLUMNS, Candidate
from results.pareto import front

DIGITS = {
    "gb": 6,
    "comet": 6,
    "comet_low": 6,
    "comet_high": 6,
    "chrf": 3,
    "bleu": 3,
    "bits_per_weight": 4,
    "seconds_per_segment": 4,
}
COLUMNS = (*CSV_COLUMNS[:4], "gb", *CSV_COLUMNS[4:])


def row(candidate: Candidate) -> dict[str, str]:
    """One line of the CSV as text; bytes exact, gb = bytes / 1e9."""
    values = {name: getattr(candidate, name) for name in CSV_COLUMNS} | {"gb": candidate.bytes / 1e9}
    return {name: f"{values[name]:.{DIGITS[name]}f}" if name in DIGITS else str(values[name]) for name in COLUMNS}


def to_csv(candidates: Sequence[Candidate]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(candidate) for candidate in candidates)
    return stream.getvalue()


def write_front(candidates: Iterable[Candidate], path: Path) -> list[Candidate]:
    """Rewrites the CSV if the front has changed; returns the front."""
    best = front(candidates)
    text = to_csv(best)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
    return best


def to_text(candidates: Sequence[Candidate]) -> str:
    """The front as an aligned table for a terminal."""
    head = ("candidate", "recipe", "bin", "bytes", "bits/w", "COMET", "95 % interval", "chrF", "dropped")
    lines = [head] + [
        (
            c.candidate,
            c.recipe,
            c.bin,
            f"{c.bytes:,}",
            f"{c.bits_per_weight:.2f}",
            f"{c.comet:.4f}",
            f"{c.comet_low:.4f}–{c.comet_high:.4f}",
            f"{c.chrf:.1f}",
            str(c.layers_dropped),
        )
        for c in candidates
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    left = {0, 1, 2}
    return "\n".join(
        "  ".join(
            cell.ljust(w) if n in left else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
