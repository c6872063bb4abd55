"""`report.html` from its data: one self-contained file. Its script and style are named by their hash in the page's
content security policy, so nothing else runs in it and nothing is ever fetched; all text of candidates is escaped.

The script is our own (results/html/browser/): plotly's alone would make every report 4.5 MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from results.candidate import FAILED, PRUNED, SCORED, Candidate
from results.pareto import comparable, hypervolume_share
from results.runs import Run

SCRIPTS = ("base.js", "chart.js", "policy.js", "main.js")
COLUMNS = ("candidate", "recipe", "bin", "bytes", "bits/weight", "COMET", "low", "high", "chrF", "BLEU", "dropped")
SAFE_LINK = re.compile(r"policies/[\w.-]+\.json")


def asset(name: str) -> str:
    return (files("results") / "html" / "browser" / name).read_text(encoding="utf-8")


def embedded_json(data: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def front_table(best: Sequence[Candidate], indices: Sequence[int], bins: Sequence[tuple[str, int, int]]) -> str:
    """Rows of the front; those inside the bins of the run are tinted. Readable without the script too."""
    rows = []
    for index, c in zip(indices, best, strict=True):
        asked = any(low <= c.bytes < high for _, low, high in bins)
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
        rows.append(f'<tr data-point="{index}"{" class=asked" if asked else ""}>{text}{cells}</tr>')
    heads = "".join(f"<th{' class=text' if n < 3 else ''}>{h}</th>" for n, h in enumerate(COLUMNS))
    return f'<table id="front"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def chips(run: Run) -> str:
    counts = {status: sum(c.status == status for c in run.candidates) for status in (SCORED, PRUNED, FAILED)}
    inside = [c for c in run.front if any(low <= c.bytes < high for _, low, high in run.bins)]
    found = [(f"{counts[SCORED]:,}", "scored")]
    found += [(f"{counts[status]:,}", status) for status in (PRUNED, FAILED) if counts[status]]
    if run.original and comparable(run.original):
        found.append((f"{run.original.comet:.4f}", f"COMET of the original, {run.original.bytes:,} bytes"))
    if inside:
        best = max(inside, key=lambda c: c.comet)
        found.append((f"{best.comet:.4f}", f"best in {', '.join(b[0] for b in run.bins)}, {best.bytes:,} bytes"))
    top = run.original.comet if run.original and comparable(run.original) else 1.0
    if run.bins and top > 0:
        share = hypervolume_share(run.candidates, run.bins, top)
        found.append((f"{share:.4f}", "hypervolume: share of bin × the original's COMET"))
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in found)
    return f'<ul class="chips">{items}</ul>'


def page(run: Run, data: dict[str, Any], title: str) -> str:
    """The whole file."""
    style = asset("report.css")
    script = "(() => {\n" + '"use strict";\n' + "".join(asset(name) for name in SCRIPTS) + "})();\n"
    policy = (
        f"default-src 'none'; script-src {allowed(script)}; style-src {allowed(style)}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    ranges = ", ".join(f"{escape(name)} {low:,} to {high:,} bytes" for name, low, high in run.bins)
    signatures = sorted({c.signature for c in run.candidates if c.status == SCORED})
    shown = len(data["points"]["name"])
    thinned = (
        ""
        if shown >= len(run.candidates)
        else f" Of {len(run.candidates):,} candidates {shown:,} are drawn: the front, recipes and the original, and of"
        " the others one wherever several would lie on the same spot."
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title><style>{style}</style></head><body><main>
<h1>{escape(title)}</h1>
<p class="note">{ranges or "no bin"}. Bytes are those of the whole artifact, every file counted.</p>
{chips(run)}
<div class="tools">{asset("legend.html")}<div><button data-view="all" aria-pressed="true">everything</button>
<button data-view="bins" aria-pressed="false">the bins asked for</button></div></div>
<div class="stage" id="stage"><canvas id="cloud"></canvas><svg class="over" id="over"></svg></div>
<p class="note">Point at a candidate to see its policy, click to see all of it.{thinned}</p>
<h2>Candidate <span id="chosen-name">–</span></h2>
<div class="card grid2" id="chosen"></div>
<h2>Translations of <span id="texts-name">–</span>, worst first</h2>
<p class="note">Underlined is what is not in the reference.</p><div id="texts"></div>
<h2>The front</h2>
<div class="scroll">{front_table(_at(run, data), data["front"], run.bins)}</div>
<h2>Sensitivities</h2>
<p class="note">How far the outputs move when one unit alone is put at a level, or one layer alone is dropped (or
the vocabulary alone trimmed).</p>
<div id="heat"></div>
<h2>Progress</h2>
<p class="note">Share of the bins' hypervolume (bytes × COMET up to the original's) that candidates so far cover.</p>
<div id="progress"></div>
<h2>How to get the same scores</h2>
{"".join(f"<p><code>{escape(s)}</code></p>" for s in signatures)}
<footer class="note">bits/weight: 8 × bytes / parameters that remain; interval: 95 %, bootstrap over segments.</footer>
</main><div id="tip" role="status"></div>
<script type="application/json" id="data">{embedded_json(data)}</script><script>{script}</script></body></html>
"""


def _at(run: Run, data: dict[str, Any]) -> list[Candidate]:
    """The candidates of the front, in the order of the page's data."""
    by_place = {(c.candidate, c.order): c for c in run.candidates}
    names, orders = data["points"]["name"], data["points"]["order"]
    return [by_place[names[i], orders[i]] for i in data["front"]]
