"""Command line: what is in an artifact. `python -m compress.inspect ART [--json]`"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    from compress.command import Parser
    from compress.reports import inspect, table

    parser = Parser(prog="python -m compress.inspect", description="Units, levels and bytes of an artifact.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    report = inspect(given.artifact)
    print(json.dumps(report.to_dict(), indent=1) if given.json else table(report))


if __name__ == "__main__":
    from compress.command import run

    sys.exit(run(main))
