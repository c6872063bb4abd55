"""Command line: an artifact as a plain transformers folder. `python -m compress.unpack ART --out DIR`"""

from __future__ import annotations

import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    from compress.codecs.raw import DTYPES
    from compress.command import Parser
    from compress.unpacking import unpack

    parser = Parser(prog="python -m compress.unpack", description="Write a plain transformers folder.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder to write; must not exist yet")
    parser.add_argument("--dtype", choices=list(DTYPES), help="format of the weights (default: the original's)")
    given = parser.parse_args(arguments)
    nbytes = unpack(given.artifact, given.out, DTYPES[given.dtype] if given.dtype else None)
    print(f"{given.out}: {nbytes:,} bytes")


if __name__ == "__main__":
    from compress.command import run

    sys.exit(run(main))
