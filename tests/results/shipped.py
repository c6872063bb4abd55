"""A run of the real embedded model with one really scored candidate, for exporting and submitting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import compress
import embedded
from evaluate.metrics.significance import interval
from results.candidate import Candidate
from results.shipping.verify import VerifySettings, verify
from tests.results.examples import candidate, make_run

SEGMENTS = 4


def packed(folder: Path, store: compress.Store) -> tuple[Path, compress.Policy]:
    """An artifact in Bin2 of the embedded model, and its policy."""
    source = compress.Source.open(embedded.MODEL)
    levels = {
        name: "grid@2" if not unit.layer or unit.layer.startswith("audio") else "grid@1.5"
        for name, unit in source.structure.units.items()
    }
    policy = compress.Policy(model=source.digest, levels=levels, dropped=("lm.5",))
    compress.pack(source, policy, store, folder / "first")
    return folder / "first", policy


def scored_run(folder: Path, store: compress.Store) -> tuple[Path, Candidate, dict[str, Any]]:
    """A run's folder, its candidate c00001, and what the artifact of that scored."""
    artifact, policy = packed(folder, store)
    nbytes = sum(path.stat().st_size for path in artifact.iterdir())
    known: dict[str, Any] = {"store": store.root, "segments": SEGMENTS, "batch_size": SEGMENTS}
    run = make_run(folder / "run", [candidate()], [policy], name="shipped", **known)
    config: dict[str, Any] = {
        "data": "embedded",
        "lang": "en-zh",
        "segments": SEGMENTS,
        "chat": False,
        "batch_size": 3,  # not the run's, as it may be on another machine
        "max_new_tokens": 64,
        "threads": 1,
    }
    outcome = verify(VerifySettings.of(config, artifact, comet=str(embedded.COMET), device="cpu"))
    scores = outcome["comet_segments"]
    low, high = interval(scores)
    row = replace(
        candidate("c00001", nbytes, sum(scores) / len(scores)),
        comet_low=low,
        comet_high=high,
        comet_segments=tuple(scores),
        hypotheses=tuple(outcome["hypotheses"]),
        segments=SEGMENTS,
        policy=f"policies/{policy.digest}.json",
        signature=f"metric:comet|digest:{outcome['comet']['digest']}|comet:{outcome['comet']['version']}",
        order=1,
    )
    return run, row, outcome
