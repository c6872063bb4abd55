"""Command line: write the artifact of a policy.

python -m compress.pack --model DIR|embedded --policy P.json --out ART
python -m compress.pack --model DIR|embedded --recipe NAME --out ART
python -m compress.pack --model DIR|embedded --level LEVEL --out ART
... --vocabulary scripts:en,zh, or --vocabulary top:40000 --texts FILE
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.source import Source
    from compress.store import Store


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
    parser.add_argument("--vocabulary", help="what stays: full, scripts:en,zh, or top:N with --texts")
    parser.add_argument(
        "--texts", type=Path, help="with --vocabulary top:N: text whose N most used tokens stay; put the prompt in"
    )
    given = parser.parse_args(arguments)

    source = Source.open(model_folder(given.model))
    if given.policy is not None:
        policy = read_policy(given.policy)
    else:
        policy = recipe(given.recipe or f"uniform:{given.level}", source.anatomy, source.digest)
    store = Store(given.store) if given.store else None
    if given.texts is not None and given.vocabulary is None:
        parser.error("--texts goes with --vocabulary top:N")
    if given.vocabulary is not None:
        policy = replace(policy, vocabulary=_vocabulary(source, given.vocabulary, given.texts, store))
    nbytes = pack(source, policy, store, given.out, progress_line("units"))
    print(f"{given.out}: {nbytes:,} bytes = {nbytes / 1e9:.6f} GB, {inspect(given.out).bin}, policy {policy.digest}")


def _vocabulary(source: Source, name: str, texts: Path | None, store: Store | None) -> str:
    """The name a policy knows a vocabulary by; `top:N` is counted in the texts, and kept in a store if there is one."""
    from compress.errors import Refusal
    from compress.store import Store
    from compress.vocabulary import most_used, trim

    if texts is None:
        return name
    count = name.removeprefix("top:")
    if not name.startswith("top:") or not count.isdecimal() or not 0 < len(count) < 9:
        raise Refusal(f"--texts goes with --vocabulary top:N, not {name!r}")
    try:
        lines = texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"cannot read {texts} as text: {error}") from None
    with tempfile.TemporaryDirectory() as work:
        kept = store if store is not None else Store(work)
        found = most_used(source, lines, int(count), kept)
        trim(source, found, kept)  # the source keeps it while this process packs
    return found


if __name__ == "__main__":
    from compress.command import run

    sys.exit(run(main))
