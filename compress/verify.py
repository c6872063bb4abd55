"""Command line: is an artifact whole? `python -m compress.verify ART`"""

from __future__ import annotations

import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    from compress.command import Parser
    from compress.reports import verify

    parser = Parser(prog="python -m compress.verify", description="Compare every checksum and decode every tensor.")
    parser.add_argument("artifact", type=Path)
    given = parser.parse_args(arguments)
    report = verify(given.artifact)
    print(f"{given.artifact}: whole, {len(report.units)} units, {report.total_bytes:,} bytes")


if __name__ == "__main__":
    from compress.command import run

    sys.exit(run(main))
