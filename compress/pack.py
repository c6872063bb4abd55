"""Packing: write the artifact of a model and a policy, one unit at a time.

python -m compress.pack --model DIR|embedded --policy P.json --out ART
python -m compress.pack --model DIR|embedded --recipe NAME --out ART
python -m compress.pack --model DIR|embedded --level LEVEL --out ART
... --vocabulary scripts:en,zh, or --vocabulary top:40000 --texts FILE
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from compress.artifact.artifact import Artifact
from compress.artifact.manifest import FILES, MANIFEST, WEIGHTS, Manifest, section_of, unquantized_order
from compress.atomic_folder import atomic_folder
from compress.cli import Parser, make_callable, progress_line, run
from compress.errors import UserError
from compress.inspect import inspect
from compress.model.aux_files import pack_files
from compress.model.source import Source
from compress.model.vocabulary import make_top_vocabulary, trimmed_vocabulary, vocabulary_files
from compress.models import resolve_model
from compress.policy.policy import Policy, read_policy
from compress.policy.recipes import recipe, recipe_names
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, encode_unit, variant_payload

Progress = Callable[[int, int], None]  # weights written, and in total


def pack(source: Source, policy: Policy, store: Store | None, out: str | Path, progress: Progress | None = None) -> int:
    """Write the artifact of a policy and return its bytes, which are those that the ledger predicts.

    Variants come from the store, and are added to it where it lacks them; without a store they are only written to
    the artifact.
    """
    policy.check(source.structure, source.digest)
    options = EncodeOptions(policy.vocabulary, policy.calibration)
    order = policy.remaining_units(source.structure)
    unquantized, units = [], []
    with atomic_folder(Path(out)) as folder, open(folder / WEIGHTS, "wb") as weights:
        for group in unquantized_order(source.structure, policy):
            blob = source.unquantized_blob(group)
            weights.write(blob)
            unquantized.append(section_of(blob))
        done, total = 0, sum(unit.weights for unit in order)
        for unit in order:
            if progress is not None:
                progress(done, total)
            done += unit.weights
            level = policy.levels[unit.name]
            if store is None:
                payload = encode_unit(source, unit, level, None, options)
            else:
                payload = variant_payload(source, unit, level, store, options)
            weights.write(payload)
            units.append(section_of(payload))
            del payload
        files = pack_files(vocabulary_files(source, policy.vocabulary, store))
        manifest = Manifest.of(source, policy, unquantized, units, section_of(files))
        for adapter in manifest.adapters:
            weights.write(source.adapters[adapter.unit].payload)
        os.fsync(weights.fileno())  # a disk that fills up late reports it here
        (folder / FILES).write_bytes(files)
        (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return Artifact.open(out).nbytes


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m compress.pack", description="Write the artifact of a policy.")
    parser.add_argument("--model", required=True, help="folder of a transformers model, a hub name, or embedded")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--policy", type=Path, help="policy as JSON")
    choice.add_argument("--recipe", help=f"policy by name: {', '.join(recipe_names())}")
    choice.add_argument("--level", help="one level for every unit it fits, such as grid@3 (the others: raw:fp16)")
    parser.add_argument("--out", required=True, type=Path, help="folder of the artifact; must not exist yet")
    parser.add_argument("--store", help="reuse and keep variants in this folder or fsspec URL")
    parser.add_argument("--vocabulary", help="tokens that stay: full, scripts:en,zh, or top:N with --texts")
    parser.add_argument(
        "--texts", type=Path, help="with --vocabulary top:N: text whose N most used tokens stay; include the prompt"
    )
    options = parser.parse_args(arguments)

    source = Source.open(resolve_model(options.model))
    if options.policy is not None:
        policy = read_policy(options.policy)
    else:
        policy = recipe(options.recipe or f"uniform:{options.level}", source.structure, source.digest)
    store = Store(options.store) if options.store else None
    if options.texts is not None and options.vocabulary is None:
        parser.error("--texts goes with --vocabulary top:N")
    if options.vocabulary is not None:
        policy = replace(policy, vocabulary=_vocabulary(source, options.vocabulary, options.texts, store))
    nbytes = pack(source, policy, store, options.out, progress_line("weights"))
    print(
        f"{options.out}: {nbytes:,} bytes = {nbytes / 1e9:.6f} GB, {inspect(options.out).bin}, policy {policy.digest}"
    )


def _vocabulary(source: Source, name: str, texts: Path | None, store: Store | None) -> str:
    """The name of a vocabulary in a policy; `top:N` is counted in the texts, and saved in the store if there is one."""
    if texts is None:
        return name
    count = name.removeprefix("top:")
    if not name.startswith("top:") or not count.isdecimal() or not 0 < len(count) < 9:
        raise UserError(f"--texts goes with --vocabulary top:N, not {name!r}")
    try:
        lines = texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {texts} as text: {error}") from None
    with tempfile.TemporaryDirectory() as temporary:
        store = store if store is not None else Store(temporary)
        vocabulary = make_top_vocabulary(source, lines, int(count), store)
        trimmed_vocabulary(source, vocabulary, store)  # the source holds it while this process packs
    return vocabulary


make_callable(__name__, pack)

if __name__ == "__main__":
    sys.exit(run(main))
