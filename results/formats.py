"""Writers of a front: `pareto.csv`, and text, Markdown, LaTeX and JSON to paste."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from compress.model.vocabulary import FULL
from results.atomic_write import write_atomically
from results.candidate import CSV_COLUMNS, Candidate
from results.pareto import front

DIGITS = {
    **dict.fromkeys(("gb", "comet", "comet_low", "comet_high"), 6),
    **dict.fromkeys(("chrf", "bleu"), 3),
    **dict.fromkeys(("bits_per_weight", "cached_seconds_per_segment"), 4),
}
COLUMNS = (*CSV_COLUMNS[:4], "gb", *CSV_COLUMNS[4:])
TERMINAL = 80  # characters on a line
TEXT_COLUMNS = ("candidate", "recipe", "bin", "vocab")
SHORT = ("candidate", "recipe", "bin", "bytes", "bits_per_weight", "comet", "comet_low", "comet_high", "chrf", "bleu")
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
)


def _value(candidate: Candidate, column: str) -> Any:
    return candidate.bytes / 1e9 if column == "gb" else getattr(candidate, column)


def csv_row(candidate: Candidate) -> dict[str, str]:
    """The columns of the CSV as text; bytes exact, gb = bytes / 1e9."""
    values = {name: _value(candidate, name) for name in COLUMNS}
    return {name: f"{value:.{DIGITS[name]}f}" if name in DIGITS else str(value) for name, value in values.items()}


def to_csv(candidates: Sequence[Candidate]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for candidate in candidates:
        writer.writerow({name: _no_formula(text) for name, text in csv_row(candidate).items()})
    return stream.getvalue()


def _no_formula(text: str) -> str:
    """A spreadsheet would run a cell that begins so; behind an apostrophe it is text. Numbers may be negative."""
    formula = text[:1] in ("=", "+", "-", "@") and len(text) > 1
    return f"'{text}" if formula and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|[-+]?(nan|inf)", text) else text


def write_front(candidates: Iterable[Candidate], path: Path) -> list[Candidate]:
    """Rewrites the CSV if the front changed. Returns the front."""
    best = front(candidates)
    text = to_csv(best)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
    return best


def to_text(candidates: Sequence[Candidate]) -> str:
    """The front as an aligned table for a terminal.

    Vocabularies have a column where not all are full; for its sake others go where the table is too wide.
    """
    columns = {
        "candidate": [c.candidate for c in candidates],
        "recipe": [c.recipe for c in candidates],
        "bin": [c.bin for c in candidates],
        "bytes": [f"{c.bytes:,}" for c in candidates],
        "bits/w": [f"{c.bits_per_weight:.2f}" for c in candidates],
        "COMET": [f"{c.comet:.4f}" for c in candidates],
        "95 % interval": [f"{c.comet_low:.4f}–{c.comet_high:.4f}" for c in candidates],
        "chrF": [f"{c.chrf:.1f}" for c in candidates],
        "dropped": [str(c.layers_dropped) for c in candidates],
    }
    if any(c.vocabulary != FULL for c in candidates):
        columns["drop"] = columns.pop("dropped")
        columns["vocab"] = [c.short_vocabulary.partition(":")[2] or c.vocabulary for c in candidates]
        columns = _narrowed(columns)
    left = [n for n, name in enumerate(columns) if name in TEXT_COLUMNS]
    lines = aligned([tuple(columns), *zip(*columns.values(), strict=True)], left)
    return "\n".join(line.rstrip() for line in lines)


def _narrowed(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Columns without as few as make the table fit: first those that say the same on every line, then chrF. All where
    that does not suffice."""
    same = [name for name in ("bin", "recipe") if len(set(columns[name])) == 1]
    kept = columns
    for name in ("", *same, "chrF"):
        kept = {each: cells for each, cells in kept.items() if each != name}
        if sum(max(map(len, (each, *cells))) + 2 for each, cells in kept.items()) - 2 <= TERMINAL:
            return kept
    return columns


def aligned(lines: Sequence[Sequence[str]], left: Collection[int] = ()) -> list[str]:
    """Lines with their cells padded to columns; the columns numbered in `left` are aligned left, others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [f"{'<' if n in left else '>'}{width}" for n, width in enumerate(widths)]
    return ["  ".join(map(format, line, sides)) for line in lines]


def to_markdown(candidates: Sequence[Candidate]) -> str:
    """A table in GitHub's Markdown, every column of the CSV."""
    fields = Candidate.__dataclass_fields__
    numbers = {name for name in COLUMNS if name == "gb" or fields[name].type != "str"}
    lines = [COLUMNS, tuple("---:" if name in numbers else "---" for name in COLUMNS)]
    lines += [tuple(" ".join(text.split()).replace("|", "\\|") for text in csv_row(c).values()) for c in candidates]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(candidates: Sequence[Candidate]) -> str:
    """A tabular with booktabs rules and the columns that a paper shows."""
    head = " & ".join(name.translate(LATEX) for name in SHORT)
    body = "".join(" & ".join(csv_row(c)[name].translate(LATEX) for name in SHORT) + r" \\" + "\n" for c in candidates)
    columns = "".join("l" if name in ("candidate", "recipe", "bin") else "r" for name in SHORT)
    signatures = "".join(f"% {text}\n" for text in sorted({c.signature.replace(chr(10), " ") for c in candidates}))
    return (
        f"% needs \\usepackage{{booktabs}}; scores by\n{signatures}\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def to_json(candidates: Sequence[Candidate]) -> str:
    """A list of objects with the columns of the CSV, not rounded; NaN and infinity are null."""
    return json.dumps([as_dict(c) for c in candidates], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_dict(candidate: Candidate) -> dict[str, Any]:
    return {name: finite_or_none(_value(candidate, name)) for name in COLUMNS}


def finite_or_none(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinity become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMATS: dict[str, Callable[[Sequence[Candidate]], str]] = {
    "text": lambda candidates: to_text(candidates) + "\n",
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "json": to_json,
}
