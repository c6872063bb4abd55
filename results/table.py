"""Command line: the table of a paper, of a run's original, the published recipes and the chosen rows.

python -m results.table RUN [--rows NAME...] [--time] [--format text|markdown|latex|csv|json]
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.atomic_write import write_atomically
from results.paper_table import DEFAULT, FORMATS, RECIPES, chosen_rows, paper_table
from results.runs import ORIGINAL, RunView
from results.selection import RULES


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.table",
        description="The table of a paper: method, COMET, difference to the original and its p, chrF, ratio, GB.",
        epilog=f"rows: a candidate's name, {ORIGINAL}, {RECIPES}, or a rule of results.select: {', '.join(RULES)}."
        f" Default: {', '.join(DEFAULT)}, and the best of each bin of the run.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument("--rows", nargs="+", metavar="NAME", default=[], help="which rows, in this order (see below)")
    parser.add_argument("--format", choices=sorted(FORMATS), default="text")
    parser.add_argument("--out", type=Path, help="write into this file instead of printing")
    timing = parser.add_argument_group("timing")
    timing.add_argument("--time", action="store_true", help="measure seconds an item of these rows, from scratch")
    timing.add_argument(
        "--time-segments", type=int, default=16, metavar="N", help="segments translated one at a time (default 16)"
    )
    timing.add_argument("--model", help="the original model, where it is not embedded")
    timing.add_argument("--data", help="the run's data, where it is not embedded")
    timing.add_argument("--store", help="folder or URL of the variants (default: .store beside the run)")
    timing.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    timing.add_argument("--threads", type=int, default=0, help="of the processor (default: torch's choice)")
    options = parser.parse_args(arguments)
    if options.time_segments < 1:
        raise UserError(f"--time-segments {options.time_segments}: at least 1")
    run = RunView.open(options.run)
    seconds = None
    if options.time:
        from results.timing import Timing, time_rows  # with torch and transformers, which take seconds

        timing_options = Timing(
            options.model, options.data, options.store, options.device, options.time_segments, options.threads
        )
        rows = chosen_rows(run, options.rows)
        seconds = time_rows(run, rows, timing_options, lambda line: print(line, file=sys.stderr, flush=True))
    text = FORMATS[options.format](paper_table(run, options.rows, seconds))
    if options.out is not None:
        write_atomically(options.out, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(run_command(main))
