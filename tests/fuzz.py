"""Mutated inputs of every kind: encoded tensors, artifacts, run folders, data. Each is read, or refused in one line.

    python -m tests.fuzz [--rounds 10000] [--seed 0] [--only artifacts|runs|data]

Memory is limited, so that a claim of billions of weights that is believed ends the run; so is the time of each.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from compress.model.source import Source
from tests.compress import fuzz as artifacts
from tests.compress.tiny import save_tiny
from tests.evaluate import fuzz as data
from tests.results import fuzz as runs


def fuzz_artifacts(rounds: int, seed: int, work: Path) -> Counter[str]:
    return artifacts.fuzz(rounds, seed, Source.open(save_tiny(work / "model")), work)


KINDS: dict[str, Callable[[int, int, Path], Counter[str]]] = {
    "artifacts": fuzz_artifacts,
    "runs": runs.fuzz,
    "data": data.fuzz,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(KINDS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    chosen = [options.only] if options.only else list(KINDS)
    for kind in chosen:
        begin, rounds = time.monotonic(), options.rounds // len(chosen)
        with tempfile.TemporaryDirectory() as folder:
            outcomes = KINDS[kind](rounds, options.seed, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{kind}: {rounds} rounds in {time.monotonic() - begin:.0f} s, peak memory {peak / 2**20:.0f} MiB")
        for outcome, count in sorted(outcomes.items()):
            print(f"  {outcome:26} {count}", flush=True)


if __name__ == "__main__":
    main()
