"""The table of a paper: a run's original, published recipes and chosen rows, each compared with the original.

The columns are those of the shared task's system papers: method, COMET, its difference to the original with a paired
test, chrF, seconds an item, compression ratio, GB, setting.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import UserError
from evaluate.metrics.significance import paired
from results.candidate import Candidate
from results.formats import LATEX, aligned, finite_or_none
from results.runs import ORIGINAL, RunView
from results.selection import RULES, select
from results.series import PRUNING, SEARCH, SINGLE_DROP, pruning_path

RECIPES = "recipes"  # what --rows calls all of them
DEFAULT = (ORIGINAL, RECIPES, "best", "knee", "like-original")


@dataclass(frozen=True)
class Seconds:
    """Of translating a segment, measured for the table: one after another, and in batches."""

    sequential: float
    batched: float


@dataclass(frozen=True)
class PaperRow:
    """A method as a paper shows it."""

    candidate: str
    method: str
    comet: float
    delta: float  # COMET less that of the original
    p: float | None  # of no difference, by the paired bootstrap; None for the original itself
    chrf: float
    seconds: Seconds | None
    ratio: float  # bytes of the original to its bytes
    gb: float
    setting: str


def chosen_rows(run: RunView, names: Sequence[str]) -> list[Candidate]:
    """The candidates that names, rules of results.select and `recipes` stand for; each once, in that order.

    Rules that find nothing are left out where the default is shown, and refused where they were asked for.
    """
    rows: dict[str, Candidate] = {}
    for name in names or default_names(run):
        try:
            found = _rows_of(run, name)
        except UserError:
            if names:
                raise
            continue
        rows |= {c.candidate: c for c in found if c.candidate not in rows}
    unscored = next((c for c in rows.values() if not c.comparable), None)
    if unscored is not None:
        raise UserError(f"candidate {unscored.candidate} is {unscored.status_word}: only scored ones are in a table")
    return list(rows.values())


def default_names(run: RunView) -> tuple[str, ...]:
    """The original, the recipes, the best inside each bin of the run, and one of each kind of choice."""
    per_bin = (f"best:{each.name}" for each in run.bins if each in run.all_bins)
    return (ORIGINAL, RECIPES, *per_bin, *DEFAULT[2:])


def _rows_of(run: RunView, name: str) -> list[Candidate]:
    if name == RECIPES:
        scored = [c for c in run.candidates if c.comparable and not c.parent and c.candidate != ORIGINAL]
        recipes = [c for c in scored if c.recipe not in (SEARCH, PRUNING) and not c.recipe.startswith(SINGLE_DROP)]
        return sorted([*recipes, *pruning_path(scored)[-1:]], key=lambda c: -c.bytes)
    if any(c.candidate == name for c in run.candidates):
        return [run.find(name)]
    if not any(name.partition(":")[0] == rule.partition(":")[0] for rule in RULES):
        raise UserError(f"--rows {name}: no candidate has that name, and it is no rule ({', '.join(RULES)})")
    return [select(run, name).candidate]


def paper_table(
    run: RunView, names: Sequence[str] = (), seconds: Mapping[str, Seconds] | None = None
) -> list[PaperRow]:
    """The rows of the table. `seconds` as `time_rows` measured them, by candidate."""
    rows = chosen_rows(run, names)
    original = run.original
    if original is None or not original.comparable:
        raise UserError(f"run {run.path} has no scored original to compare with")
    with_texts = run.with_texts([ORIGINAL, *(row.candidate for row in rows)])
    reference = with_texts[ORIGINAL]
    table = []
    for row in (with_texts[each.candidate] for each in rows):
        test = paired(row.comet_segments, reference.comet_segments) if row.candidate != ORIGINAL else None
        table.append(
            PaperRow(
                candidate=row.candidate,
                method=_method(row),
                comet=row.comet,
                delta=row.comet - original.comet,
                p=None if test is None else test.p,
                chrf=row.chrf,
                seconds=(seconds or {}).get(row.candidate),
                ratio=run.original_bytes / row.bytes,
                gb=row.bytes / 1e9,
                setting=setting_of(row),
            )
        )
    return table


def _method(row: Candidate) -> str:
    if row.candidate == ORIGINAL:
        return "Original"
    if row.parent:
        return f"Search, recovered ({row.candidate})"
    return f"Search ({row.candidate})" if row.recipe == SEARCH else row.recipe


def setting_of(row: Candidate) -> str:
    """What was done to the model, in a few words."""
    words = [f"{row.bits_per_weight:.2f} bits a weight"]
    if row.layers_dropped:
        words.append(f"{row.layers_dropped} layer{'s'[: row.layers_dropped > 1]} dropped")
    if row.vocabulary != "full":
        words.append(f"vocabulary {row.short_vocabulary}")
    return ", ".join(words)


HEAD = ("Method", "COMET", "Δ", "p", "chrF", "Sec/item", "batched", "Ratio", "GB", "Setting")
TEXT_COLUMNS = (0, len(HEAD) - 1)


def cells(row: PaperRow, gb_digits: int) -> tuple[str, ...]:
    timed = row.seconds
    return (
        row.method,
        f"{row.comet:.4f}",
        f"{row.delta:+.4f}" if row.p is not None else "–",
        "–" if row.p is None else "<.001" if row.p < 0.001 else f"{row.p:.3f}",
        f"{row.chrf:.1f}",
        f"{timed.sequential:.3f}" if timed else "–",
        f"{timed.batched:.3f}" if timed else "–",
        f"{row.ratio:.2f}",
        f"{row.gb:.{gb_digits}f}",
        row.setting,
    )


def shown(rows: Sequence[PaperRow]) -> list[tuple[str, ...]]:
    """Head and rows as text; without the columns of seconds where nothing was timed."""
    digits = 3 if max((row.gb for row in rows), default=1) >= 1 else 6
    lines = [HEAD, *(cells(row, digits) for row in rows)]
    if not any(row.seconds for row in rows):
        lines = [(*line[:5], *line[7:]) for line in lines]
    return lines


def to_text(rows: Sequence[PaperRow]) -> str:
    lines = shown(rows)
    return "".join(f"{line.rstrip()}\n" for line in aligned(lines, left=(0, len(lines[0]) - 1)))


def to_markdown(rows: Sequence[PaperRow]) -> str:
    head, *lines = shown(rows)
    rule = ["---" if n in (0, len(head) - 1) else "---:" for n in range(len(head))]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in (head, rule, *lines))


def to_latex(rows: Sequence[PaperRow]) -> str:
    """A tabular with booktabs rules; the best COMET of what is smaller than the original is bold."""
    head, *lines = shown(rows)
    columns = "l" + "r" * (len(head) - 2) + "l"
    best = max((row.comet for row in rows if row.ratio > 1), default=None)
    body = ""
    for row, line in zip(rows, lines, strict=True):
        escaped = [cell.translate(LATEX).replace("–", "--") for cell in line]
        if row.comet == best and row.ratio > 1:
            escaped[1] = rf"\textbf{{{escaped[1]}}}"
        body += " & ".join(escaped) + r" \\" + "\n"
    titles = " & ".join(r"$\Delta$" if each == "Δ" else r"$p$" if each == "p" else each for each in head)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{titles} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def as_dict(row: PaperRow) -> dict[str, Any]:
    """Plain values, unrounded; seconds in two columns."""
    values = asdict(row)
    timed = values.pop("seconds") or {"sequential": None, "batched": None}
    values |= {"seconds_sequential": timed["sequential"], "seconds_batched": timed["batched"]}
    return {name: finite_or_none(value) for name, value in values.items()}


def to_json(rows: Sequence[PaperRow]) -> str:
    return json.dumps([as_dict(row) for row in rows], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(rows: Iterable[PaperRow]) -> str:
    stream = io.StringIO()
    values = [as_dict(row) for row in rows]
    writer = csv.DictWriter(stream, list(values[0]) if values else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in values)
    return stream.getvalue()


FORMATS: dict[str, Callable[[Sequence[PaperRow]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}
