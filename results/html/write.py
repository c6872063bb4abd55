"""Writes the files of a report: `report.html`, `pareto.png` and `pareto.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.atomic_write import write_atomically
from results.html.data import report_data
from results.html.page import page
from results.html.plots import render
from results.runs import RunView


def write_report(folder: Path) -> Path:
    """Writes all three files into a run's folder. Returns the path of report.html."""
    run = RunView.open(folder)
    plots = render(run.candidates, run.shown_bins, run.title, {each.name for each in run.bins})
    for kind, content in plots.items():
        write_atomically(folder / f"pareto.{kind}", content)
    path = folder / "report.html"
    write_page(run, path)
    return path


def write_page(run: RunView, path: Path, names: Sequence[str] = ()) -> None:
    """Writes report.html to `path`, with the translations of the candidates named beside those of the front."""
    write_atomically(path, page(run, report_data(run, names)))
