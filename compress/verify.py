"""Verify an artifact: compare every checksum, decode every tensor. `python -m compress.verify ART`"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.artifact.artifact import Artifact
from compress.cli import Parser, make_callable, run
from compress.inspect import ArtifactReport, inspect


def verify(artifact: str | Path) -> ArtifactReport:
    """Compare every checksum and decode every tensor. Raises UserError if anything is damaged."""
    for _ in Artifact.open(artifact).tensors():
        pass
    return inspect(artifact)


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m compress.verify", description="Compare every checksum and decode every tensor.")
    parser.add_argument("artifact", type=Path)
    options = parser.parse_args(arguments)
    report = verify(options.artifact)
    print(f"{options.artifact}: whole, {len(report.units)} units, {report.total_bytes:,} bytes")


make_callable(__name__, verify)

if __name__ == "__main__":
    sys.exit(run(main))
