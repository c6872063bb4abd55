"""`report.html`: one file that works offline, with the front as a picture, as a table, and in its translations."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from results.candidate import SCORED, Candidate
from results.files import write_atomically
from results.front import front
from results.picture import BinRange, render

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
h1{font-size:1.4rem} h2{font-size:1.1rem;margin-top:2rem} svg{width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child,td.text,th.text{text-align:left} tr.in td{background:#eef5fa}
code{font-size:12px;overflow-wrap:anywhere} .note{color:#666;font-size:13px}
"""
SHOWN_SEGMENTS = 20


def front_table(best: Sequence[Candidate], bins: Sequence[BinRange]) -> str:
    """Rows of the front; those inside the bins of the run are tinted."""
    head = (
        "candidate",
        "recipe",
        "bin",
        "bytes",
        "bits/weight",
        "COMET",
        "low",
        "high",
        "chrF",
        "BLEU",
        "dropped",
        "parameters",
    )
    rows = []
    for c in best:
        inside = any(low <= c.bytes < high for _, low, high in bins)
        cells = (
            f"{c.bytes:,}",
            f"{c.bits_per_weight:.2f}",
            f"{c.comet:.4f}",
            f"{c.comet_low:.4f}",
            f"{c.comet_high:.4f}",
            f"{c.chrf:.1f}",
            f"{c.bleu:.1f}",
            str(c.layers_dropped),
            f"{c.parameters:,}",
        )
        link = f'<a href="{escape(c.policy)}">{escape(c.candidate)}</a>'
        text = "".join(f'<td class="text">{escape(value)}</td>' for value in (c.recipe, c.bin))
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr{' class=in' if inside else ''}><td>{link}</td>{text}{numbers}</tr>")
    heads = "".join(f"<th{' class=text' if n in (1, 2) else ''}>{h}</th>" for n, h in enumerate(head))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def translations(chosen: Candidate, original: Candidate | None) -> str:
    """Worst segments first: the candidate's translation beside the original's."""
    order = sorted(range(len(chosen.hypotheses)), key=lambda n: chosen.comet_segments[n])[:SHOWN_SEGMENTS]
    rows = []
    for n in order:
        before = original.hypotheses[n] if original is not None and n < len(original.hypotheses) else ""
        rows.append(
            f"<tr><td>{n + 1}</td><td>{chosen.comet_segments[n]:.3f}</td>"
            f'<td class="text">{escape(chosen.hypotheses[n])}</td>'
            f'<td class="text">{escape(before)}</td></tr>'
        )
    heads = '<th>segment</th><th>COMET</th><th class="text">this candidate</th><th class="text">the original model</th>'
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def page(title: str, candidates: Sequence[Candidate], bins: Sequence[BinRange], svg: str) -> str:
    best = front(candidates)
    scored = [c for c in candidates if c.status == SCORED]
    original = next((c for c in candidates if c.candidate == "original"), None)
    inside = [c for c in best if any(low <= c.bytes < high for _, low, high in bins)]
    chosen = max(inside or best, key=lambda c: c.comet)
    told = ", ".join(f"{escape(name)} {low:,} to {high:,} bytes" for name, low, high in bins)
    signatures = sorted({c.signature for c in scored})
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<p>{len(scored)} candidates scored, {len(candidates) - len(scored)} failed. {told}. Tinted rows lie in these bins.</p>
{svg}
<h2>The front</h2>
{front_table(best, bins)}
<h2>Translations of {escape(chosen.candidate)} ({chosen.bytes:,} bytes, COMET {chosen.comet:.4f}), worst first</h2>
{translations(chosen, original)}
<h2>How to get the same scores</h2>
{"".join(f"<p><code>{escape(s)}</code></p>" for s in signatures)}
<p class="note">bytes: the whole artifact, every file counted; bits/weight: 8 × bytes / parameters that remain;
interval: 95 %, bootstrap over segments.</p>
</html>
"""


def write_report(folder: Path, title: str, candidates: Sequence[Candidate], bins: Sequence[BinRange]) -> Path:
    """Writes report.html, pareto.png and pareto.svg into a run's folder."""
    pictures = render(candidates, bins, title)
    for kind, content in pictures.items():
        write_atomically(folder / f"pareto.{kind}", content)
    svg = pictures["svg"].decode()
    path = folder / "report.html"
    write_atomically(path, page(title, candidates, bins, svg[svg.index("<svg") :]))
    return path
