"""Scores translations: COMET, chrF, chrF++, BLEU. `python -m evaluate.score --help`"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import embedded
from compress.cli import Parser, progress_line, run
from compress.errors import UserError
from evaluate.cli import cleaned_texts, data_arguments, open_chosen, say
from evaluate.data.resegment import resegment
from evaluate.data.text import empty_lines, read_lines
from evaluate.data.types import DataSet
from evaluate.metrics.comet import DEFAULT, Comet, check_comet
from evaluate.metrics.score_cache import default_cache
from evaluate.metrics.scores import Score, check_hypotheses, score, versus


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.score", description="Score translations: COMET, chrF, chrF++, BLEU.")
    parser.add_argument("--hyp", required=True, type=Path, help="the translations, a line a segment")
    data_arguments(parser)
    parser.add_argument("--versus", type=Path, metavar="FILE", help="another system's translations: a paired test")
    parser.add_argument(
        "--comet",
        help="embedded, a checkpoint, a hub name, or none (default: embedded for embedded data, else wmt22-comet-da)",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="segments COMET takes at once")
    parser.add_argument("--gpus", type=int, default=0, choices=(0, 1), help="1: COMET on a GPU")
    parser.add_argument("--cache", type=Path, help="file of scores known already (default: in the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="use no such file")
    parser.add_argument("--resegment", action="store_true", help="cut the translations like the references first")
    parser.add_argument("--allow-empty", action="store_true", help="score a translation that says nothing as it is")
    options = parser.parse_args(arguments)
    data = open_chosen(options)

    files = [options.hyp, *([options.versus] if options.versus else [])]
    systems = [_hypotheses(file, data, options) for file in files]
    comet = _comet(options, data)
    try:
        found: list[list[Score]] = []
        for texts, cleaned in systems:
            show = progress_line("segments scored by COMET")
            found.append(score(texts, data.scored, comet, options.cleanup, show))
            del cleaned
    finally:
        if comet is not None:
            comet.close()
    compared = []
    if options.versus:
        segments = (found[0][0].segments, found[1][0].segments) if comet is not None else None
        compared = versus(systems[0][0], systems[1][0], data.scored, segments)
    if options.json:
        told: dict[str, Any] = {
            "systems": [
                {"file": str(file), "cleaned": cleaned, "scores": [asdict(each) for each in scores]}
                for file, (_, cleaned), scores in zip(files, systems, found, strict=True)
            ],
            "versus": [asdict(each) for each in compared],
        }
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    for file, scores in zip(files, found, strict=True):
        print(file)
        for each in scores:
            print(f"  {each.told}")
    if compared:
        print(f"{files[0]} − {files[1]}, paired bootstrap, 1,000 resamples")
        for difference in compared:
            print(f"  {difference.told}")


def _hypotheses(file: Path, data: DataSet, options: argparse.Namespace) -> tuple[list[str], dict[str, int]]:
    """Read, cut like the references if need be, cleaned; with the counts of what clean-up did."""

    lines = read_lines(file)
    if options.resegment or data.gold is not None:
        if not options.resegment:
            check_hypotheses(lines, data, str(file))
        # Cleaned before cutting: a preamble belongs to the segment the model saw.
        cleaned = cleaned_texts(lines, options, str(file))
        texts = resegment(cleaned.texts, data.scored.references, data.lang)
    else:
        check_hypotheses(lines, data, str(file))
        cleaned = cleaned_texts(lines, options, str(file))
        texts = list(cleaned.texts)
    empty = empty_lines(texts)
    if empty and not (options.allow_empty or options.resegment or data.gold is not None):
        raise UserError(
            f"{file}: line {empty[0]} is empty ({len(empty)} in all); if the system says nothing there, --allow-empty"
        )
    return texts, cleaned.counts


def _comet(options: argparse.Namespace, data: DataSet) -> Any:

    name = options.comet or ("embedded" if data.origin == "embedded" else DEFAULT)
    if name == "none":
        return None
    if name == "embedded":
        name = str(embedded.COMET)
        say(f"COMET: {embedded.LABEL}")
    check_comet(name)
    cache = None if options.no_cache else (options.cache or default_cache())
    return Comet(name, options.batch_size, options.gpus, options.threads, cache)


if __name__ == "__main__":
    sys.exit(run(main))
