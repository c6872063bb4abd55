"""What the commands of this folder share: arguments that name data, clean-up, and lines for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from compress.errors import UserError
from evaluate.data.open import FORMS, open_data
from evaluate.data.types import SPLITS, DataSet
from evaluate.decoding.cleanup import Cleaned, clean_all

DATA = f"one of {'  '.join(FORMS)}; options behind a comma: origin=acl6060, split=dev"


def data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument("--lang", required=True, metavar="PAIR", help="language pair, such as en-zh")
    parser.add_argument("--split", default="dev", help=f"{', '.join(SPLITS)} (default dev)")
    parser.add_argument("--segments", type=int, help="the first N segments only")
    parser.add_argument("--no-cleanup", dest="cleanup", action="store_false", help="leave preambles and quotes in")
    parser.add_argument("--list-changes", action="store_true", help="show everything that clean-up changed")
    parser.add_argument("--threads", type=int, default=0, help="threads of each process (default: torch's choice)")
    parser.add_argument("--json", action="store_true", help="what is told, as JSON on standard output")


def open_chosen(options: argparse.Namespace) -> DataSet:
    for flag in ("segments", "batch_size", "max_new_tokens"):
        if (value := getattr(options, flag, None)) is not None and value < 1:
            raise UserError(f"--{flag.replace('_', '-')} {value}: at least 1")
    return open_data(options.data, options.split, options.lang).first(options.segments)


def cleaned_texts(texts: Sequence[str], options: argparse.Namespace, what: str) -> Cleaned:
    if not options.cleanup:
        return Cleaned(tuple(texts), ())
    found = clean_all(texts)
    if found.changes:
        say(f"{what}: {found.told}")
    if options.list_changes:
        for change in found.changes:
            say(f"  {change.segment} {change.kind}: {change.before!r} → {change.after!r}")
    return found


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
