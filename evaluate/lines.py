"""Translates a text line by line, without references: what the organisers of a text task run.

    python -m evaluate.lines --model ART --lang-pair ces-deu --batch-size 8 --input input.txt --output output.txt

One line of output for each line of input, in its order; an empty line stays empty. Language pairs are written `cs-de`,
or as the tasks write them: `ces-deu`, `eng-zho_Hans`, `eng-ara_EG`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compress.cli import Parser, progress_line, run
from compress.errors import UserError
from compress.models import resolve_model
from evaluate.data.languages import short_pair
from evaluate.data.text import check_writable, read_lines, write_lines
from evaluate.data.types import DataSet, Segment
from evaluate.decoding.batches import prepare
from evaluate.decoding.cleanup import clean
from evaluate.decoding.generate import translate
from evaluate.models import load_model


def translate_lines(
    model: Any,
    processor: Any,
    lines: Sequence[str],
    lang: str,
    batch_size: int = 32,
    max_new_tokens: int = 256,
    prompt: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """A translation for each line, on one line and without a preamble of the model's; '' for one that is empty."""
    filled = [index for index, line in enumerate(lines) if line.strip()]
    if not filled:
        return [""] * len(lines)
    segments = tuple(Segment(str(index + 1), "", None, lines[index], "") for index in filled)
    data = DataSet("lines", "eval", lang, segments)
    texts = translate(
        model, processor, prepare(data, processor, batch_size, template=prompt), max_new_tokens, progress=progress
    )
    translated = [""] * len(lines)
    for index, text in zip(filled, texts, strict=True):
        translated[index] = " ".join(clean(text).split())
    return translated


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evaluate.lines", description="Translate a text line by line.")
    parser.add_argument("--model", required=True, help="embedded, an artifact, a transformers folder, or a hub name")
    parser.add_argument("--lang-pair", required=True, metavar="PAIR", help="cs-de, or ces-deu, eng-zho_Hans")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="UTF-8, a sentence a line")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--prompt", metavar="TEMPLATE", help="with {source_language}, {target_language}, {text}")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    options = parser.parse_args(arguments)
    for name in ("batch_size", "max_new_tokens"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: at least 1")
    lang = short_pair(options.lang_pair)
    check_writable(options.output)
    lines = read_lines(options.input)
    model, processor = load_model(str(resolve_model(options.model)), options.device)
    show, total = progress_line("lines translated"), len(lines)
    texts = translate_lines(
        model,
        processor,
        lines,
        lang,
        options.batch_size,
        options.max_new_tokens,
        options.prompt,
        lambda done: show(done, total),
    )
    write_lines(options.output, texts)


if __name__ == "__main__":
    sys.exit(run(main))
