"""Command line: write the artifact of a policy.

python -m compress.pack --model DIR|embedded --policy P.json --out ART
python -m compress.pack --model DIR|embedded --recipe NAME --out ART
python -m compress.pack --model DIR|embedded --level LEVEL --out ART
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    from compress.command import Parser, model_folder, progress_line
    from compress.packing import pack
    from compress.policy import read_policy
    from compress.recipes import names, recipe
    from compress.reports import inspect
    from compress.source import Source
    from compress.store import Store

    parser = Parser(prog="python -m compress.pack", description="Write the artifact of a policy.")
    parser.add_argument("--model", required=True, help="folder of a transformers model, or 'embedded'")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--policy", type=Path, help="policy as JSON")
    what.add_argument("--recipe", help=f"policy by name: {', '.join(names())}")
    what.add_argument("--level", help="one level for every unit it fits, such as grid@3 (the others: raw:fp16)")
    parser.add_argument("--out", required=True, type=Path, help="folder of the artifact; must not exist yet")
    parser.add_argument("--store", help="reuse and keep variants in this folder or fsspec URL")
    given = parser.parse_args(arguments)

    source = Source.open(model_folder(given.model))
    if given.policy is not None:
        policy = read_policy(given.policy)
    else:
        policy = recipe(given.recipe or f"uniform:{given.level}", source.anatomy, source.digest)
    nbytes = pack(source, policy, Store(given.store) if given.store else None, given.out, progress_line("units"))
    print(f"{given.out}: {nbytes:,} bytes = {nbytes / 1e9:.6f} GB, {inspect(given.out).bin}, policy {policy.digest}")


if __name__ == "__main__":
    from compress.command import run

    sys.exit(run(main))
