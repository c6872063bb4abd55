"""A front in the forms people paste: CSV, Markdown, LaTeX, JSON, and text for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from results.candidate import CSV_COLUMNS, Candidate
from results.front_csv import COLUMNS, row, to_csv, to_text

SHORT = ("candidate", "recipe", "bin", "bytes", "bits_per_weight", "comet", "comet_low", "comet_high", "chrf", "bleu")
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
)


def to_markdown(candidates: Sequence[Candidate]) -> str:
    """A table of GitHub's kind, every column of the CSV."""
    numbers = {name for name in COLUMNS if name == "gb" or not isinstance(_example(name), str)}
    lines = [COLUMNS, tuple("---:" if name in numbers else "---" for name in COLUMNS)]
    lines += [tuple(_cell(row(c)[name]) for name in COLUMNS) for c in candidates]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(candidates: Sequence[Candidate]) -> str:
    """A tabular with booktabs rules and the columns that a paper shows."""
    head = " & ".join(name.translate(LATEX) for name in SHORT)
    body = "".join(" & ".join(row(c)[name].translate(LATEX) for name in SHORT) + r" \\" + "\n" for c in candidates)
    columns = "".join("l" if name in ("candidate", "recipe", "bin") else "r" for name in SHORT)
    signatures = "".join(f"% {text}\n" for text in sorted({c.signature.replace(chr(10), " ") for c in candidates}))
    return (
        f"% needs \\usepackage{{booktabs}}; scores by\n{signatures}\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def to_json(candidates: Sequence[Candidate]) -> str:
    """A list of objects with the columns of the CSV as they are, not rounded; a number that is none is null."""
    return json.dumps([as_dict(c) for c in candidates], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_dict(candidate: Candidate) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(candidate, name) for name in CSV_COLUMNS} | {"gb": candidate.bytes / 1e9}
    return {name: plain(values[name]) for name in COLUMNS}


def plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMATS: dict[str, Callable[[Sequence[Candidate]], str]] = {
    "text": lambda candidates: to_text(candidates) + "\n",
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "json": to_json,
}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _example(name: str) -> object:
    """A value of the column's type."""
    return {"str": "", "int": 0, "float": 0.0}[str(Candidate.__dataclass_fields__[name].type)]
