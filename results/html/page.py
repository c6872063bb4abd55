"""The files of a report: `report.html`, and the plots `pareto.png` and `pareto.svg`.

The page is self-contained. Its content security policy names its script and style by their hash, so nothing else runs
and nothing is fetched; all text of candidates is escaped. The script is our own (results/html/browser/), because
plotly's alone would make every report 4.5 MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from compress.model.vocabulary import FULL
from results.atomic_write import write_atomically
from results.candidate import SCORED, STATUS_WORDS
from results.html.data import report_data
from results.html.plots import draw, encode
from results.paper_table import paper_table, shown
from results.pareto import hypervolume_share
from results.runs import RunView

SCRIPTS = ("base.js", "chart.js", "policy.js", "main.js")
COLUMNS = ("candidate", "recipe", "bin", "bytes", "bits/weight", "COMET", "low", "high", "chrF", "BLEU", "dropped")
SAFE_LINK = re.compile(r"policies/[\w.-]+\.json")


def write_report(folder: Path, data: str | None = None) -> Path:
    """Writes all three files into a run's folder. Returns the path of report.html. `data` as `report_data` takes it."""
    run = RunView.open(folder)
    figure = draw(run.candidates, run.shown_bins, run.title, {each.name for each in run.bins})
    for kind, content in encode(figure).items():
        write_atomically(folder / f"pareto.{kind}", content)
    path = folder / "report.html"
    write_page(run, path, data=data)
    return path


def write_page(run: RunView, path: Path, names: Sequence[str] = (), data: str | None = None) -> None:
    """Writes report.html to `path`, with the translations of the candidates named beside those of the front."""
    write_atomically(path, page(run, report_data(run, names, data)))


def asset(name: str) -> str:
    return (files("results") / "html" / "browser" / name).read_text(encoding="utf-8")


def embedded_json(data: Any) -> str:
    """JSON that cannot end the element that contains it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def csp_hash(text: str) -> str:
    """The hash of an inline script or style, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def front_table(run: RunView, indices: Sequence[int]) -> str:
    """Rows of the front, with their indices in the data; those inside the bins of the run are tinted. Readable without
    the script."""
    rows = []
    vocabularies = any(c.vocabulary != FULL for c in run.front)
    for index, c in zip(indices, run.front, strict=True):
        numbers = (
            f"{c.bytes:,}",
            f"{c.bits_per_weight:.2f}",
            f"{c.comet:.4f}",
            f"{c.comet_low:.4f}",
            f"{c.comet_high:.4f}",
            f"{c.chrf:.1f}",
            f"{c.bleu:.1f}",
            str(c.layers_dropped),
        )
        name = escape(c.candidate)
        link = f'<a href="{c.policy}">{name}</a>' if SAFE_LINK.fullmatch(c.policy) else name
        text = "".join(f'<td class="text">{cell}</td>' for cell in (link, escape(c.recipe), escape(c.bin)))
        cells = "".join(f"<td>{cell}</td>" for cell in numbers)
        if vocabularies:
            cells += f'<td class="text">{escape(c.short_vocabulary)}</td>'
        target = " class=target" if any(each.holds(c.bytes) for each in run.bins) else ""
        rows.append(f'<tr data-point="{index}"{target}>{text}{cells}</tr>')
    heads = "".join(f"<th{' class=text' if n < 3 else ''}>{h}</th>" for n, h in enumerate(COLUMNS))
    heads += "<th class=text>vocabulary</th>" if vocabularies else ""
    return f'<table id="front"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def beside_recipes(run: RunView) -> str:
    """The table of a paper: the original, the recipes and the best of the search; empty where no recipe was scored."""
    if run.original is None or not run.original.comparable:
        return ""
    rows = paper_table(run)
    if all(row.method == "Original" or row.method.startswith("Search") for row in rows):
        return ""
    head, *lines = shown(rows)
    left = (0, len(head) - 1)

    def cells(tag: str, line: Sequence[str]) -> str:
        kinds = (" class=text" if n in left else "" for n in range(len(line)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, line, strict=True))

    body = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
    return (
        '<h2>Beside the published recipes</h2><p class="note">Δ: to the original, p by the paired bootstrap. Ratio:'
        ' bytes of the original to those of the artifact.</p><div class="scroll"><table id="recipes">'
        f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def chips(run: RunView) -> str:
    """The figures at the top of the page."""
    counts = Counter(c.status for c in run.candidates)
    figures = [
        (f"{counts[status]:,}", word) for status, word in STATUS_WORDS.items() if counts[status] or status == SCORED
    ]
    if run.original and run.original.comparable:
        figures.append((f"{run.original.comet:.4f}", f"COMET of the original, {run.original.bytes:,} bytes"))
    if run.front_in_bins:
        best = max(run.front_in_bins, key=lambda c: c.comet)
        names = ", ".join(each.name for each in run.bins)
        figures.append((f"{best.comet:.4f}", f"best in {names}, {best.bytes:,} bytes"))
    if run.bins:
        share = hypervolume_share(run.candidates, run.bins, run.top_comet)
        figures.append((f"{share:.4f}", "hypervolume: share of bin × the original's COMET"))
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in figures)
    return f'<ul class="chips">{items}</ul>'


def page(run: RunView, data: dict[str, Any]) -> str:
    """The whole file."""
    title = escape(run.title)
    style = asset("report.css")
    script = "(() => {\n" + '"use strict";\n' + "".join(asset(name) for name in SCRIPTS) + "})();\n"
    policy = (
        f"default-src 'none'; script-src {csp_hash(script)}; style-src {csp_hash(style)}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    ranges = ", ".join(f"{escape(name)} {low:,} to {high:,} bytes" for name, low, high in run.bins)
    signatures = sorted({c.signature for c in run.candidates if c.status == SCORED})
    shown = len(data["points"]["name"])
    downsampled = ""
    if shown < len(run.candidates):
        downsampled = (
            f" Of {len(run.candidates):,} candidates {shown:,} are drawn: the front, recipes, recovered candidates and"
            " the original, and of the others one where several would overlap."
        )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{style}</style></head><body><main>
<h1>{title}</h1>
<p class="note">{ranges or "no bin"}. Bytes are those of the whole artifact, every file counted.</p>
{chips(run)}
<div class="tools">{asset("legend.html")}<div><button data-view="all" aria-pressed="true">everything</button>
<button data-view="bins" aria-pressed="false">the bins of the search</button></div></div>
<div class="stage" id="stage"><canvas id="cloud"></canvas><svg class="over" id="over"></svg></div>
<p class="note">Point at a candidate to see its policy, click to see all of it.{downsampled}</p>
<h2>Candidate <span id="chosen-name">–</span></h2>
<div class="card grid2" id="chosen"></div>
<h2>Translations of <span id="texts-name">–</span>, worst first</h2>
<p class="note">Underlined is what is not in the reference.</p><div id="texts"></div>
<h2>The front</h2>
<div class="scroll">{front_table(run, data["front"])}</div>
{beside_recipes(run)}<h2>Sensitivities</h2>
<p class="note">Divergence of the outputs when one unit alone is at a level, one layer alone is dropped, or the
vocabulary alone is trimmed.</p>
<div id="heat"></div>
<h2>Progress</h2>
<p class="note">Share of the bins' hypervolume (bytes × COMET up to the original's) covered so far.</p>
<div id="progress"></div>
<h2>How to get the same scores</h2>
{"".join(f"<p><code>{escape(s)}</code></p>" for s in signatures)}
<footer class="note">bits/weight: 8 × bytes / parameters that remain; interval: 95 %, bootstrap over segments.</footer>
</main><div id="tip" role="status"></div>
<script type="application/json" id="data">{embedded_json(data)}</script><script>{script}</script></body></html>
"""
