"""Command line: two runs over each other, as a table and a picture, and two candidates by a paired test.

python -m results.compare RUN_A RUN_B [--candidates ID_A ID_B] [--out compare]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.cli import Parser
from compress.errors import UserError
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.comparison import Comparison, compare
from results.compatibility import check_metric, labels, model_of
from results.pareto import comparable
from results.runs import Run


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m results.compare", description="The fronts of two runs over each other.")
    parser.add_argument("a", metavar="RUN_A", help="folder of a run")
    parser.add_argument("b", metavar="RUN_B", help="folder of a run scored by the same metric on the same data")
    parser.add_argument(
        "--candidates", nargs=2, metavar=("ID_A", "ID_B"), help="paired test between one of A and one of B"
    )
    parser.add_argument("--out", type=Path, default=Path("compare"), help="picture, to .png and .svg (default compare)")
    parser.add_argument("--json", action="store_true", help="for programs; no picture")
    given = parser.parse_args(arguments)

    runs = [Run.open(given.a), Run.open(given.b)]
    check_metric(runs)
    for run in runs:
        if not run.front:
            raise UserError(f"run {run.path}: no candidate was scored yet, its front is empty")
    names = labels(runs)
    originals = [run.original for run in runs if run.original is not None and comparable(run.original)]
    top = max((c.comet for c in originals), default=1.0)
    found = compare(runs[0].candidates, runs[1].candidates, runs[0].all_bins, top)
    tested = significance(runs, given.candidates) if given.candidates else None
    if given.json:
        told: dict[str, Any] = {"a": names[0], "b": names[1], **found.to_dict()}
        print(json.dumps(told | ({"paired": tested} if tested else {}), indent=1, ensure_ascii=False))
        return
    print(to_text(found, names))
    if model_of(runs[0]) != model_of(runs[1]):
        print("\nThe runs compress different models; only their scores and bytes are compared.")
    if tested:
        print(
            f"\n{names[0]}/{tested['a']} − {names[1]}/{tested['b']}: {tested['difference']:+.4f} COMET"
            f" ({tested['low']:+.4f} to {tested['high']:+.4f}), p = {tested['p']:.3f}, paired bootstrap over"
            f" {tested['segments']} segments: {tested['verdict']}"
        )
    from results.html.plots import render_two

    for kind, content in render_two(runs[0].candidates, runs[1].candidates, runs[0].all_bins, names).items():
        path = given.out.with_name(f"{given.out.name}.{kind}")
        write_atomically(path, content)
        print(path)


def significance(runs: Sequence[Run], ids: Sequence[str]) -> dict[str, Any]:
    """The paired test between a candidate of each run."""
    from evaluate.metrics.significance import paired

    rows: list[Candidate] = []
    for run, name in zip(runs, ids, strict=True):
        row = run.full([run.find(name).candidate])[name]
        if not comparable(row):
            raise UserError(f"candidate {name} of {run.path} was {row.status}: there are no scores to test")
        rows.append(row)
    found = paired(rows[0].comet_segments, rows[1].comet_segments)
    better = ids[0] if found.difference > 0 else ids[1]
    verdict = f"{better} is significantly better" if found.p < 0.05 else "no significant difference"
    return {"a": ids[0], "b": ids[1], **asdict(found), "segments": len(rows[0].comet_segments), "verdict": verdict}


def to_text(found: Comparison, names: Sequence[str]) -> str:
    """Bins, then sizes, aligned."""
    a, b = names
    rows = [("", f"hypervolume {a}", b, f"best COMET {a}", b)]
    rows += [
        (x.bin, f"{x.hypervolume_a:.4f}", f"{x.hypervolume_b:.4f}", _four(x.best_a), _four(x.best_b))
        for x in found.bins
    ]
    sizes = [("under bytes", f"COMET {a}", b, "difference", "")]
    for x in found.sizes:
        gap = f"{x.a - x.b:+.4f}" if x.a is not None and x.b is not None else "–"
        sizes.append((f"{x.bytes:,}", _four(x.a), _four(x.b), gap, ""))
    joint = f"front of both together: {found.of_a} of {a}, {found.of_b} of {b}"
    return "\n".join([*_aligned(rows), "", *_aligned(sizes), "", joint])


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
