"""`python -m search.recovery.speech --out DIR`: speaks training speech for the embedded model."""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser, run
from search.recovery.synthetic_speech import MOST, TALKS, speak


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m search.recovery.speech", description="Speak training speech for the embedded model."
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the speech and its segments.csv")
    parser.add_argument(
        "--talks", type=int, default=TALKS, help=f"talks of 16 sentences (default {TALKS}, at most {MOST})"
    )
    options = parser.parse_args(arguments)
    path = speak(options.out, options.talks)
    print(f"training speech: --train manifest:{path}")


if __name__ == "__main__":
    sys.exit(run(main))
