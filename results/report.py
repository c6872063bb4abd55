"""Command line: `report.html`, `pareto.png` and `pareto.svg` of a run, to look at offline and for papers.

python -m results.report RUN [--candidate ID]... [--out FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.html.page import write_page, write_report
from results.runs import RunView


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m results.report", description="Write report.html, pareto.png and pareto.svg.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--candidate", action="append", default=[], metavar="ID", help="include its translations too; may be repeated"
    )
    parser.add_argument("--data", help="the run's data, for the references, where it is not embedded")
    parser.add_argument("--out", type=Path, help="write the report alone, to this file")
    options = parser.parse_args(arguments)
    run = RunView.open(options.run)
    if not run.front:
        raise UserError(f"run {options.run}: no candidate was scored yet, there is no front to show")
    if not options.candidate and options.out is None:
        print(write_report(options.run, options.data))
        return
    path = options.out or options.run / "report.html"
    write_page(run, path, options.candidate, options.data)
    print(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
