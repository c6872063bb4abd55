"""Time of swapping the units that differ, and of loading the artifact again, on the embedded model.

python -m benchmarks.swap
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

import embedded
from compress.artifact.artifact import load
from compress.model.source import Source
from compress.pack import pack
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.policy.variant import build
from compress.resident import Resident


def milliseconds(work: Callable[[], object], times: int = 5) -> float:
    """The fastest of `times` runs."""
    best = float("inf")
    for _ in range(times):
        started = time.monotonic()
        work()
        best = min(best, time.monotonic() - started)
    return 1000 * best


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    source = Source.open(embedded.MODEL)
    with tempfile.TemporaryDirectory() as work:
        store = Store(Path(work) / "store")
        for unit in source.structure.units:
            for level in ("grid@3", "grid@2.5"):
                build(source, unit, level, store)
        base = recipe("uniform:grid@3", source.structure, source.digest)
        pack(source, base, store, Path(work) / "art")
        resident = Resident(source, store)
        rows = [("load the artifact again", milliseconds(lambda: load(Path(work) / "art")))]
        for count in (1, 4, 12, len(base.levels)):
            changed = {u: "grid@2.5" if i < count else level for i, (u, level) in enumerate(base.levels.items())}
            other = Policy(base.model, changed)

            def apply_and_undo(other: Policy = other) -> None:
                resident.apply(other)
                resident.apply(base)

            resident.apply(base)
            rows.append((f"apply, {count} of {len(base.levels)} units differ", milliseconds(apply_and_undo) / 2))
        dropped = Policy(base.model, base.levels, ("lm.3", "lm.7"))

        def drop_and_undo() -> None:
            resident.apply(dropped)
            resident.apply(base)

        rows.append(("apply, two layers dropped", milliseconds(drop_and_undo) / 2))
    print("| what | ms |\n|---|---|")
    for name, time_ms in rows:
        print(f"| {name} | {time_ms:.0f} |")


if __name__ == "__main__":
    main()
