"""Translates speech or text with a model. `python -m evaluate.translate --help`"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from compress.cli import Parser, progress_line, run
from compress.models import resolve_model
from evaluate.cli import add_data_arguments, clean_selected, open_selected, print_line
from evaluate.data.text import check_writable, empty_lines, write_lines
from evaluate.decoding.batches import is_chat, prepare
from evaluate.decoding.generate import translate
from evaluate.models import load_model


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.translate", description="Translate speech or text with a model.")
    parser.add_argument("--model", required=True, help="embedded, an artifact, a transformers folder, or a hub name")
    add_data_arguments(parser)
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
    check_writable(options.output)
    data = open_selected(options)
    folder = resolve_model(options.model)
    if options.threads:
        torch.set_num_threads(options.threads)
    model, processor = load_model(str(folder), options.device)
    chat = is_chat(f"{options.model} {folder}") if options.chat is None else options.chat
    batches = prepare(data, processor, options.batch_size, chat, options.prompt)
    show, total = progress_line("segments translated"), len(data.segments)
    texts = translate(model, processor, batches, options.max_new_tokens, progress=lambda done: show(done, total))
    cleaned = clean_selected(texts, options, "translations")
    write_lines(options.output, list(cleaned.texts))
    empty = empty_lines(list(cleaned.texts))
    if empty:
        print_line(f"{len(empty)} translations are empty, first segment {empty[0]}")
    result = {"segments": total, "cleaned": cleaned.counts, "empty": len(empty), "output": str(options.output)}
    print(json.dumps(result) if options.json else f"{total} translations in {options.output}")


if __name__ == "__main__":
    sys.exit(run(main))
