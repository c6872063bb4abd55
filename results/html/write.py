"""Writes the files of a report: `report.html`, `pareto.png` and `pareto.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.sizes import Bin
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.html.data import report_data, shown_bins
from results.html.page import page
from results.html.plots import render
from results.runs import RunView


def write_report(folder: Path, title: str = "", candidates: Sequence[Candidate] = (), bins: Sequence[Bin] = ()) -> Path:
    """Writes all three files into a run's folder. Returns the path of report.html.

    Everything is read from the folder, except candidates and target bins that the caller has already.
    """
    run = RunView.in_memory(folder, candidates) if candidates else RunView.open(folder)
    if bins:
        run.bins = tuple(bins)
    title = title or run.title
    plots = render(run.candidates, shown_bins(run), title, {each.name for each in run.bins})
    for kind, content in plots.items():
        write_atomically(folder / f"pareto.{kind}", content)
    path = folder / "report.html"
    write_page(run, path, title)
    return path


def write_page(run: RunView, path: Path, title: str, names: Sequence[str] = ()) -> None:
    """Writes report.html to `path`, with the translations of the candidates named beside those of the front."""
    write_atomically(path, page(run, report_data(run, title, names), title))
