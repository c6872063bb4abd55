"""Scores translations: COMET, chrF, chrF++, BLEU. `python -m evaluate.score --help`"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import embedded
from compress.cli import Parser, progress_line, run
from compress.errors import UserError
from evaluate.cli import add_data_arguments, clean_selected, open_selected, print_line
from evaluate.data.resegment import resegment
from evaluate.data.text import empty_lines, read_lines
from evaluate.data.types import DataSet
from evaluate.metrics.comet import DEFAULT, Comet, check_comet
from evaluate.metrics.score_cache import default_cache
from evaluate.metrics.scores import check_hypotheses, score, versus


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.score", description="Score translations: COMET, chrF, chrF++, BLEU.")
    parser.add_argument("--hyp", required=True, type=Path, help="the translations, a line a segment")
    add_data_arguments(parser)
    parser.add_argument("--versus", type=Path, metavar="FILE", help="another system's translations: a paired test")
    parser.add_argument(
        "--comet",
        help="embedded, a checkpoint, a hub name, or none (default: embedded for embedded data, else wmt22-comet-da)",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="segments COMET takes at once")
    parser.add_argument("--gpus", type=int, default=0, choices=(0, 1), help="1: COMET on a GPU")
    parser.add_argument("--cache", type=Path, help="file of scores to reuse and add to (default: in the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="use no such file")
    parser.add_argument(
        "--resegment", action="store_true", help="first re-segment the translations like the references"
    )
    parser.add_argument("--allow-empty", action="store_true", help="accept empty translations")
    options = parser.parse_args(arguments)
    data = open_selected(options)

    files = [options.hyp, *([options.versus] if options.versus else [])]
    systems = [_read_hypotheses(file, data, options) for file in files]
    comet = _start_comet(options, data)
    try:
        scores = [
            score(texts, data.scored, comet, options.cleanup, progress_line("segments scored by COMET"))
            for texts, _ in systems
        ]
    finally:
        if comet is not None:
            comet.close()
    differences = []
    if options.versus:
        segments = (scores[0][0].segments, scores[1][0].segments) if comet is not None else None
        differences = versus(systems[0][0], systems[1][0], data.scored, segments)
    if options.json:
        results = {
            "systems": [
                {"file": str(file), "cleaned": changes, "scores": [asdict(each) for each in of_file]}
                for file, (_, changes), of_file in zip(files, systems, scores, strict=True)
            ],
            "versus": [asdict(each) for each in differences],
        }
        print(json.dumps(results, ensure_ascii=False, indent=1))
        return
    for file, of_file in zip(files, scores, strict=True):
        print(file)
        for each in of_file:
            print(f"  {each}")
    if differences:
        print(f"{files[0]} − {files[1]}, paired bootstrap, 1,000 resamples")
        for difference in differences:
            print(f"  {difference}")


def _read_hypotheses(file: Path, data: DataSet, options: argparse.Namespace) -> tuple[list[str], dict[str, int]]:
    """The file's lines, cleaned and if need be re-segmented, and the number of clean-up's changes by kind."""
    lines = read_lines(file)
    resegmented = options.resegment or data.gold is not None
    if not options.resegment:
        check_hypotheses(lines, data, str(file))
    # Cleaned before re-segmenting: a preamble belongs to the segment that the model translated.
    cleaned = clean_selected(lines, options, str(file))
    if resegmented:
        return resegment(cleaned.texts, data.scored.references, data.lang), cleaned.counts
    texts = list(cleaned.texts)
    empty = empty_lines(texts)
    if empty and not options.allow_empty:
        raise UserError(
            f"{file}: line {empty[0]} is empty ({len(empty)} in all); if the system's output is empty there,"
            " --allow-empty"
        )
    return texts, cleaned.counts


def _start_comet(options: argparse.Namespace, data: DataSet) -> Comet | None:
    name = options.comet or ("embedded" if data.origin == "embedded" else DEFAULT)
    if name == "none":
        return None
    if name == "embedded":
        name = str(embedded.COMET)
        print_line(f"COMET: {embedded.LABEL}")
    check_comet(name)
    cache = None if options.no_cache else (options.cache or default_cache())
    return Comet(name, options.batch_size, options.gpus, options.threads, cache)


if __name__ == "__main__":
    sys.exit(run(main))
