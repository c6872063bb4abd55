"""Command line: the Pareto front of one run or of several together, of all sizes or of some bins.

python -m results.front RUN... [--bin Bin2 | --per-bin] [--format text|csv|markdown|latex|json]
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from compress.sizes import find_bin
from results.atomic_write import write_atomically
from results.compatibility import together
from results.formats import FORMATS
from results.pareto import front, hypervolume_share
from results.runs import RunView


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.front", description="The front of COMET against bytes, of one run or several."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run; several must share data and metric")
    parser.add_argument("--bin", action="append", default=[], help="only this bin; may be repeated")
    parser.add_argument("--per-bin", action="store_true", help="the front of each bin by itself, one after the other")
    parser.add_argument("--format", choices=sorted(FORMATS), default="text")
    parser.add_argument("--out", type=Path, help="write into this file instead of printing")
    options = parser.parse_args(arguments)

    runs = [RunView.open(folder) for folder in options.runs]
    candidates = together(runs)
    all_bins = runs[0].all_bins
    bins = [find_bin(name, all_bins) for name in options.bin] or (list(all_bins) if options.per_bin else [])
    parts = [[c for c in candidates if each.holds(c.bytes)] for each in bins] or [candidates]
    best = [c for part in parts for c in front(part)]
    if not best:
        scored = sum(c.comparable for c in candidates)
        raise UserError(f"the front is empty: {scored} of {len(candidates)} candidates were scored, none of them here")
    text = FORMATS[options.format](best)
    if options.out is not None:
        write_atomically(options.out, text)
        return
    sys.stdout.write(text)
    if options.format == "text":
        top = runs[0].top_comet
        shares = [f"{each.name} {hypervolume_share(candidates, [each], top):.4f}" for each in bins or runs[0].bins]
        print(
            f"\n{len(best)} of {len(candidates)} candidates; hypervolume (share of bin × the original's COMET):",
            end=" ",
        )
        print(", ".join(shares) or "no bin")


if __name__ == "__main__":
    sys.exit(run_command(main))
