"""The command lines `python -m evaluate.translate` and `python -m evaluate.score`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.cli import Parser, progress_line
from compress.errors import Refusal
from evaluate.data.dataset import FORMS, SPLITS, DataSet, open_data
from evaluate.data.lines import empty_lines, read_lines, write_lines
from evaluate.decoding.cleanup import Cleaned, clean_all

DATA = f"one of {'  '.join(FORMS)}; options behind a comma: origin=acl6060, split=dev"


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument("--lang", required=True, metavar="PAIR", help="language pair, such as en-zh")
    parser.add_argument("--split", default="dev", help=f"{', '.join(SPLITS)} (default dev)")
    parser.add_argument("--segments", type=int, help="the first N segments only")
    parser.add_argument("--no-cleanup", dest="cleanup", action="store_false", help="leave preambles and quotes in")
    parser.add_argument("--list-changes", action="store_true", help="show everything that clean-up changed")
    parser.add_argument("--threads", type=int, default=0, help="threads of each process (default: torch's choice)")
    parser.add_argument("--json", action="store_true", help="what is told, as JSON on standard output")


def _open(options: argparse.Namespace) -> DataSet:
    for flag in ("segments", "batch_size", "max_new_tokens"):
        if (value := getattr(options, flag, None)) is not None and value < 1:
            raise Refusal(f"--{flag.replace('_', '-')} {value}: at least 1")
    return open_data(options.data, options.split, options.lang).first(options.segments)


def _cleaned(texts: Sequence[str], options: argparse.Namespace, what: str) -> Cleaned:
    if not options.cleanup:
        return Cleaned(tuple(texts), ())
    found = clean_all(texts)
    if found.changes:
        _say(f"{what}: {found.told}")
    if options.list_changes:
        for change in found.changes:
            _say(f"  {change.segment} {change.kind}: {change.before!r} → {change.after!r}")
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def translate_command(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.translate", description="Translate speech or text with a model.")
    parser.add_argument("--model", required=True, help="embedded, an artifact, a transformers folder, or a hub name")
    _data_arguments(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, help="the translations, a line a segment")
    parser.add_argument("--prompt", metavar="TEMPLATE", help="with {source_language}, {target_language}, {text}")
    parser.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="the -Instruct prompt for speech (default: if the model's name says instruct)",
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    options = parser.parse_args(arguments)
    data = _open(options)
    from evaluate.models import find_model

    folder = find_model(options.model)
    import torch

    from evaluate.decoding.batches import is_chat, prepare
    from evaluate.decoding.generate import translate
    from evaluate.models import load_model

    if options.threads:
        torch.set_num_threads(options.threads)
    model, processor = load_model(str(folder), options.device)
    chat = is_chat(f"{options.model} {folder}") if options.chat is None else options.chat
    batches = prepare(data, processor, options.batch_size, chat, options.prompt)
    show, total = progress_line("segments translated"), len(data.segments)
    raw = translate(model, processor, batches, options.max_new_tokens, progress=lambda done: show(done, total))
    cleaned = _cleaned(raw, options, "translations")
    write_lines(options.output, list(cleaned.texts))
    empty = empty_lines(list(cleaned.texts))
    if empty:
        _say(f"{len(empty)} translations are empty, first segment {empty[0]}")
    told = {"segments": total, "cleaned": cleaned.counts, "empty": len(empty), "output": str(options.output)}
    print(json.dumps(told) if options.json else f"{total} translations in {options.output}")


def score_command(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.score", description="Score translations: COMET, chrF, chrF++, BLEU.")
    parser.add_argument("--hyp", required=True, type=Path, help="the translations, a line a segment")
    _data_arguments(parser)
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
    data = _open(options)
    from evaluate.metrics.scores import Score, score, versus

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
    from evaluate.data.resegment import resegment
    from evaluate.metrics.scores import check_hypotheses

    lines = read_lines(file)
    if options.resegment or data.gold is not None:
        if not options.resegment:
            check_hypotheses(lines, data, str(file))
        # Cleaned before cutting: a preamble belongs to the segment the model saw.
        cleaned = _cleaned(lines, options, str(file))
        texts = resegment(cleaned.texts, data.scored.references, data.lang)
    else:
        check_hypotheses(lines, data, str(file))
        cleaned = _cleaned(lines, options, str(file))
        texts = list(cleaned.texts)
    empty = empty_lines(texts)
    if empty and not (options.allow_empty or options.resegment or data.gold is not None):
        raise Refusal(
            f"{file}: line {empty[0]} is empty ({len(empty)} in all); if the system says nothing there, --allow-empty"
        )
    return texts, cleaned.counts


def _comet(options: argparse.Namespace, data: DataSet) -> Any:
    from evaluate.metrics.comet import DEFAULT, Comet, check_comet
    from evaluate.metrics.score_cache import default_cache

    name = options.comet or ("embedded" if data.origin == "embedded" else DEFAULT)
    if name == "none":
        return None
    if name == "embedded":
        import embedded

        name = str(embedded.COMET)
        _say(f"COMET: {embedded.LABEL}")
    check_comet(name)
    cache = None if options.no_cache else (options.cache or default_cache())
    return Comet(name, options.batch_size, options.gpus, options.threads, cache)
