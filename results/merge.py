"""Command line: several runs of one model, data and metric become one, with one front.

python -m results.merge RUN... --out RUN

The result is a run's folder that every command of results reads. It cannot be resumed: no single search made it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.atomic_write import full_disk
from results.compatibility import check_same, merge_runs
from results.html.page import write_report
from results.runs import RunView


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m results.merge", description="Runs of one model, data and metric as one run.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="folder of the new run; must not exist")
    options = parser.parse_args(arguments)
    out: Path = options.out
    if len(options.runs) < 2:
        raise UserError("merging takes at least two runs")
    if out.exists():
        raise UserError(f"{out} exists already; give another --out or remove it")
    runs = [RunView.open(folder) for folder in options.runs]
    check_same(runs)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        count, duplicates = merge_runs(runs, partial, out.name)
        os.rename(partial, out)
    except OSError as error:
        clear = full_disk(error, out)
        raise (clear if isinstance(clear, UserError) else UserError(f"cannot write {out}: {error}")) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    merged = RunView.open(out)
    print(f"{out}: {count} candidates of {len(runs)} runs, {duplicates} duplicates left out")
    print(f"{len(merged.front)} on the front: {out / 'pareto.csv'}")
    if merged.front:
        print(write_report(out))


if __name__ == "__main__":
    sys.exit(run_command(main))
