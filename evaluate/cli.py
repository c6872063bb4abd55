"""Arguments and messages that the commands of this folder share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from compress.errors import UserError
from evaluate.data.open import FORMS
from evaluate.data.types import SPLITS, DataSet
from evaluate.decoding.cleanup import Cleaned, clean_all
from evaluate.spec import EvalSpec

DATA = f"one of {'  '.join(FORMS)}; options after a comma: origin=acl6060, split=dev"


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument("--lang", required=True, metavar="PAIR", help="language pair, such as en-zh")
    parser.add_argument("--split", default="dev", help=f"{', '.join(SPLITS)} (default dev)")
    parser.add_argument("--segments", type=int, help="the first N segments only")
    parser.add_argument("--no-cleanup", dest="cleanup", action="store_false", help="leave preambles and quotes in")
    parser.add_argument("--list-changes", action="store_true", help="show everything that clean-up changed")
    parser.add_argument("--threads", type=int, default=0, help="threads of each process (default: torch's choice)")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")


def open_selected(options: argparse.Namespace) -> DataSet:
    """The data that the arguments name. Refuses counts below 1."""
    for flag in ("segments", "batch_size", "max_new_tokens"):
        if (value := getattr(options, flag, None)) is not None and value < 1:
            raise UserError(f"--{flag.replace('_', '-')} {value}: at least 1")
    return EvalSpec(options.data, options.split, options.lang, options.segments).open_data()


def clean_selected(texts: Sequence[str], options: argparse.Namespace, what: str) -> Cleaned:
    """The texts, cleaned unless --no-cleanup; changes are reported on standard error as texts of `what`."""
    if not options.cleanup:
        return Cleaned(tuple(texts), ())
    cleaned = clean_all(texts)
    if cleaned.changes:
        print_line(f"{what}: {cleaned.summary}")
    if options.list_changes:
        for change in cleaned.changes:
            print_line(f"  {change.segment} {change.kind}: {change.before!r} → {change.after!r}")
    return cleaned


def print_line(line: str) -> None:
    """On standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)
