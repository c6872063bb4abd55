"""A full-size Qwen2-Audio stand-in through the packer: bytes, time and peak memory, and the published rows again.

    python -m benchmarks.full_size [--storage TABLE.csv] [--work DIR] [--rows NAME ...]

Needs 35 GB of disk in --work (a folder for temporary files by default) and removes what it wrote there.
Every row is packed by `python -m compress.pack` in a process of its own, whose peak memory is measured by a small
process between: Linux counts to a child what its parent held when it was started.
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

# What the paper's "Comp GB" column says, in GiB, and of what.
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
class Row:
    name: str
    nbytes: int
    seconds: float
    peak: int  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, help="published table of digits:2 bytes by layer (CSV)")
    parser.add_argument("--work", type=Path, help="folder for temporary files")
    parser.add_argument("--rows", nargs="*", default=[*PUBLISHED, *OURS], help="which rows to pack")
    given = parser.parse_args()
    begin = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="full-size-", dir=given.work))
    try:
        if shutil.disk_usage(work).free < 38e9:
            sys.exit(f"error: {work} has less than 38 GB free; give another folder with --work")
        say(f"writing the stand-in to {work}")
        make(work / "model", given.storage, say)
        say(f"stand-in written after {time.monotonic() - begin:.0f} s")
        source = Source.open(work / "model")
        say(f"digest {source.digest} after {time.monotonic() - begin:.0f} s")
        rows = []
        for name in given.rows:
            policy = (
                bin2(source, Store(work / "store")) if name == "bin2" else recipe(name, source.structure, source.digest)
            )
            rows.append(packed(name, policy, work))
            if name == "global-q2":
                linears_size(rows[-1], source)
            say(show(rows[-1]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n| row | bytes | GB | GiB | published GiB | seconds | peak memory, GiB |\n|{'---|' * 7}")
    for row in rows:
        print(show(row))
    print(f"\nIn all {time.monotonic() - begin:.0f} s, the stand-in written and removed.")


def bin2(source: Source, store: Store) -> Policy:
    """A policy under 2 GB: the eight layers of Moslem 2025 gone, 40,000 tokens, grid rates by kind of unit."""
    rates = {"attention": "grid@2.5", "mlp": "grid@2", "embedding": "grid@2", "head": "grid@4"}
    start = recipe("moslem-zh", source.structure, source.digest)
    levels = {
        unit.name: "grid@3" if (unit.layer or "").startswith("audio") else rates.get(unit.kind, "grid@4")
        for unit in start.remaining_units(source.structure)
    }
    from tokenizers import Tokenizer

    known = Tokenizer.from_str(source.aux_files["tokenizer.json"].decode())
    texts = [known.id_to_token(i).replace("Ġ", " ") for i in range(300, 120000, 3)]
    return Policy(source.digest, levels, start.dropped, make_top_vocabulary(source, texts, 40000, store))


def packed(name: str, policy: Policy, work: Path) -> Row:
    """Pack in a child process, measure it, remove the artifact."""
    (work / "policy.json").write_text(policy.to_json())
    command = [sys.executable, "-m", "compress.pack", "--model", str(work / "model")]
    command += ["--policy", str(work / "policy.json"), "--out", str(work / "art")]
    if policy.vocabulary != "full":
        command += ["--store", str(work / "store")]
    begin = time.monotonic()
    found = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True)
    if found.returncode:
        sys.exit(f"error: packing {name} failed")
    nbytes = sum(file.stat().st_size for file in (work / "art").iterdir())
    shutil.rmtree(work / "art")
    return Row(name, nbytes, time.monotonic() - begin, int(found.stdout) * 1024)


def linears_size(row: Row, source: Source) -> None:
    """What the linears alone take, for comparison with the published 3.628 GiB."""
    others = [u for u in source.structure.units.values() if u.kind in {"embedding", "conv"}]
    assert all(codec("digits:2").unit_unsupported(u.shapes, u.roles) is None for u in others)
    linears = row.nbytes - sum(2 * u.weights for u in others)
    say(f"linears under digits:2 (with norms, biases, tokenizer): {linears / 2**30:.3f} GiB; the real ones 3.628 GiB")


def show(row: Row) -> str:
    published = PUBLISHED.get(row.name, "")
    sizes = f"{row.nbytes:,} | {row.nbytes / 1e9:.3f} | {row.nbytes / 2**30:.3f}"
    return f"| `{row.name}` | {sizes} | {published} | {row.seconds:.0f} | {row.peak / 2**30:.2f} |"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
