"""Packs a full-size Qwen2-Audio stand-in: bytes, time and peak memory, for the published policies and ours.

    python -m benchmarks.full_size [--storage TABLE.csv] [--work DIR] [--rows NAME ...]

Needs 38 GB of disk in --work (default: the folder of temporary files) and removes what it wrote there. Every row is
packed by `python -m compress.pack` in a process of its own, whose peak memory is measured by a small process in
between: Linux counts the memory of the parent at the fork to the child.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stand_in import make
from compress.codecs import codec
from compress.model.source import Source
from compress.model.vocabulary import make_top_vocabulary
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store

# The paper's column "Comp GB", in GiB, and what it covers.
PUBLISHED = {
    "fp16": "14.436 (linears only)",
    "int8": "9.026 (whole artifact)",
    "mlp-q3": "10.312 (linears only)",
    "mlp-q2": "8.422 (linears only)",
    "global-q2": "3.628 (linears only)",
    "mlp-prune-q2": "8.020 (linears only)",
}
OURS = ("uniform:grid@3", "bin2")
MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
print(usage.ru_maxrss)
sys.exit(child.returncode)
"""  # prints the peak in KiB


@dataclass(frozen=True)
class PackedModel:
    name: str
    nbytes: int
    seconds: float
    peak: int  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, help="published table of digits:2 bytes by layer (CSV)")
    parser.add_argument("--work", type=Path, help="folder for temporary files")
    parser.add_argument("--rows", nargs="*", default=[*PUBLISHED, *OURS], help="which rows to pack")
    options = parser.parse_args()
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="full-size-", dir=options.work))
    try:
        if shutil.disk_usage(work).free < 38e9:
            sys.exit(f"error: {work} has less than 38 GB free; give another folder with --work")
        log(f"writing the stand-in to {work}")
        make(work / "model", options.storage, log)
        log(f"stand-in written after {time.monotonic() - started:.0f} s")
        source = Source.open(work / "model")
        log(f"digest {source.digest} after {time.monotonic() - started:.0f} s")
        rows = []
        for name in options.rows:
            policy = (
                bin2(source, Store(work / "store")) if name == "bin2" else recipe(name, source.structure, source.digest)
            )
            rows.append(pack_and_measure(name, policy, work))
            if name == "global-q2":
                log_linears_size(rows[-1], source)
            log(table_row(rows[-1]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n| row | bytes | GB | GiB | published GiB | seconds | peak memory, GiB |\n|{'---|' * 7}")
    for row in rows:
        print(table_row(row))
    print(f"\nIn all {time.monotonic() - started:.0f} s, with writing and removing the stand-in.")


def bin2(source: Source, store: Store) -> Policy:
    """A policy under 2 GB: the eight layers of Moslem 2025 dropped, 40,000 tokens, grid rates by kind of unit."""
    rates = {"attention": "grid@2.5", "mlp": "grid@2", "embedding": "grid@2", "head": "grid@4"}
    start = recipe("moslem-zh", source.structure, source.digest)
    levels = {
        unit.name: "grid@3" if (unit.layer or "").startswith("audio") else rates.get(unit.kind, "grid@4")
        for unit in start.remaining_units(source.structure)
    }
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(source.aux_files["tokenizer.json"].decode())
    texts = [tokenizer.id_to_token(i).replace("Ġ", " ") for i in range(300, 120000, 3)]
    return Policy(source.digest, levels, start.dropped, make_top_vocabulary(source, texts, 40000, store))


def pack_and_measure(name: str, policy: Policy, work: Path) -> PackedModel:
    """Packs in a child process, measures, removes the artifact."""
    (work / "policy.json").write_text(policy.to_json())
    command = [sys.executable, "-m", "compress.pack", "--model", str(work / "model")]
    command += ["--policy", str(work / "policy.json"), "--out", str(work / "art")]
    if policy.vocabulary != "full":
        command += ["--store", str(work / "store")]
    started = time.monotonic()
    child = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True)
    if child.returncode:
        sys.exit(f"error: packing {name} failed")
    nbytes = sum(file.stat().st_size for file in (work / "art").iterdir())
    shutil.rmtree(work / "art")
    return PackedModel(name, nbytes, time.monotonic() - started, int(child.stdout) * 1024)


def log_linears_size(row: PackedModel, source: Source) -> None:
    """Logs the size of the linears alone, for comparison with the published 3.628 GiB."""
    others = [u for u in source.structure.units.values() if u.kind in {"embedding", "conv"}]
    assert all(codec("digits:2").unit_unsupported(u.shapes, u.roles) is None for u in others)
    linears = row.nbytes - sum(2 * u.weights for u in others)
    log(f"linears under digits:2 (with norms, biases, tokenizer): {linears / 2**30:.3f} GiB; the real ones 3.628 GiB")


def table_row(row: PackedModel) -> str:
    published = PUBLISHED.get(row.name, "")
    sizes = f"{row.nbytes:,} | {row.nbytes / 1e9:.3f} | {row.nbytes / 2**30:.3f}"
    return f"| `{row.name}` | {sizes} | {published} | {row.seconds:.0f} | {row.peak / 2**30:.2f} |"


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
