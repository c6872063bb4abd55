"""The report: one file, nothing fetched, nothing that a translation could smuggle in."""

from __future__ import annotations

from pathlib import Path

from results.report import write_report
from tests.results.examples import candidate


def test_report_is_self_contained_and_escaped(tmp_path: Path) -> None:
    found = [
        candidate("original", 5000, 0.9, recipe="original", hypotheses=("<script>alert(1)</script>", "b")),
        candidate("c00001", 900, 0.6, hypotheses=("<img src=x onerror=alert(1)>", "b")),
        candidate("uniform:grid@1", 950, 0.3, recipe="uniform:grid@1"),
        candidate("c00002", 800, 0.0, status="failed", comet_segments=(), hypotheses=()),
    ]
    path = write_report(tmp_path, "run <one>", found, [("Bin2", 500, 1000)])
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "run &lt;one&gt;" in text
    assert "&lt;img src=x" in text
    assert "http" not in text.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "pareto.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
