"""`report.html`, `pareto.png` and `pareto.svg` of a run: to look at, offline, and for papers.

python -m results.report RUN [--candidate ID]... [--out FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from compress.sizes import Bin
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.html.data import report_data, shown_bins
from results.html.page import page
from results.html.plots import render
from results.runs import Run


def write_report(folder: Path, title: str = "", candidates: Sequence[Candidate] = (), bins: Sequence[Bin] = ()) -> Path:
    """Writes report.html, pareto.png and pareto.svg into a run's folder.

    All is read from the folder; what the caller holds already (candidates, the bins asked for) need not be again.
    """
    run = Run.holding(folder, candidates) if candidates else Run.open(folder)
    if bins:
        run.bins = tuple(bins)
    title = title or run.title
    pictures = render(run.candidates, shown_bins(run), title, {name for name, _, _ in run.bins})
    for kind, content in pictures.items():
        write_atomically(folder / f"pareto.{kind}", content)
    path = folder / "report.html"
    write_atomically(path, page(run, report_data(run, title), title))
    return path


def main(arguments: list[str]) -> None:
    from compress.cli import Parser
    from compress.errors import UserError

    parser = Parser(prog="python -m results.report", description="Write report.html, pareto.png and pareto.svg.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--candidate", action="append", default=[], metavar="ID", help="hold its translations too; may be repeated"
    )
    parser.add_argument("--out", type=Path, help="write the report alone, to this file")
    given = parser.parse_args(arguments)
    run = Run.open(given.run)
    if not run.front:
        raise UserError(f"run {given.run}: no candidate was scored yet, there is no front to show")
    if not given.candidate and given.out is None:
        print(write_report(given.run))
        return
    path = given.out or given.run / "report.html"
    write_atomically(path, page(run, report_data(run, run.title, given.candidate), run.title))
    print(path)


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
