"""Command line of `python -m results.front`: the front of one run or of several together, whole or by bins."""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser, run
from compress.errors import UserError
from compress.sizes import find_bin
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.compatibility import together
from results.formats import FORMATS
from results.pareto import comparable, front, hypervolume_share
from results.runs import Run


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.front", description="The front of COMET against bytes, of one run or several."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run; several must share data and metric")
    parser.add_argument("--bin", action="append", default=[], help="only this bin; may be repeated")
    parser.add_argument("--per-bin", action="store_true", help="the front of each bin by itself, one after the other")
    parser.add_argument("--format", choices=sorted(FORMATS), default="text")
    parser.add_argument("--out", type=Path, help="write into this file instead of printing")
    given = parser.parse_args(arguments)

    runs = [Run.open(folder) for folder in given.runs]
    found = together(runs)
    bins = runs[0].all_bins
    asked = [find_bin(name, bins) for name in given.bin] or (list(bins) if given.per_bin else [])
    best = [c for each in asked for c in front(inside(found, each[1], each[2]))] if asked else front(found)
    if not best:
        scored = sum(comparable(c) for c in found)
        raise UserError(f"the front is empty: {scored} of {len(found)} candidates were scored, none of them here")
    text = FORMATS[given.format](best)
    if given.out is not None:
        write_atomically(given.out, text)
        return
    sys.stdout.write(text)
    if given.format == "text":
        top = runs[0].original.comet if runs[0].original and comparable(runs[0].original) else 1.0
        shares = [f"{each[0]} {hypervolume_share(found, [each], top):.4f}" for each in asked or runs[0].bins]
        print(f"\n{len(best)} of {len(found)} candidates; hypervolume (share of bin × the original's COMET):", end=" ")
        print(", ".join(shares) or "no bin")


def inside(candidates: list[Candidate], low: int, high: int) -> list[Candidate]:
    return [c for c in candidates if low <= c.bytes < high]


if __name__ == "__main__":
    sys.exit(run(main))
