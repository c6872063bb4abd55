"""Candidates and run folders to test with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress import Policy
from results.candidate import Candidate
from results.rows.storage import Table


def candidate(name: str = "c00001", size: int = 1000, comet: float = 0.5, **others: Any) -> Candidate:
    values: dict[str, Any] = {
        "recipe": "search",
        "bin": "Bin2",
        "comet_low": comet - 0.01,
        "comet_high": comet + 0.01,
        "chrf": 50.0,
        "bleu": 30.0,
        "segments": 2,
        "parameters": 4000,
        "bits_per_weight": 2.0,
        "layers_dropped": 1,
        "vocabulary": "full",
        "cached_seconds_per_segment": 0.01,
        "policy": f"policies/{name}.json",
        "signature": "metric:comet",
        "comet_segments": (comet, comet),
        "hypotheses": ("你好", 'a "quoted", <b>text</b>'),
    }
    return Candidate(candidate=name, bytes=size, comet=comet, **(values | others))


LAYERS = ("audio.0", "audio.1", "lm.0", "lm.1", "lm.2")
UNITS = ("audio.conv", *(f"{layer}.{kind}" for layer in LAYERS for kind in ("attention", "mlp")), "embedding", "head")
LEVELS = ("grid@1", "grid@2", "raw:bf16")
DIGEST = "0123456789abcdef"
WEIGHTS = 1000
SIGNATURE = (  # the data digest is that of the first two embedded segments
    "metric:comet|checkpoint:model.ckpt|digest:aaaa|comet:2.2.7|data:embedded:dev:en-zh|segments:2|datadigest:544c1f2628fd"
    "|clean:yes|max_new_tokens:64|transformers:4.57.6|torch:2.13.0"
)


def policy(level: str = "grid@2", dropped: tuple[str, ...] = (), **others: str) -> Policy:
    """A policy for the units above: one level for all, some by name."""
    levels = {unit: others.get(unit.replace(".", "_"), level) for unit in UNITS}
    return Policy(model=DIGEST, levels=levels, dropped=dropped)


def make_run(folder: Path, candidates: Sequence[Candidate], policies: Sequence[Policy] = (), **config: Any) -> Path:
    """A run's folder as the engine writes it, with the policies given or one for all."""
    (folder / "policies").mkdir(parents=True)
    settings: dict[str, Any] = {
        "bins": ["Bin2"],
        "lang": "en-zh",
        "model": "embedded",
        "data": "embedded",
        "comet": "embedded",
        "segments": 2,
        "chat": False,
        "batch_size": 2,
        "max_new_tokens": 64,
        "name": folder.name,
    }
    (folder / "config.json").write_text(json.dumps(settings | config))
    known = [*policies, policy()]
    for each in known:
        (folder / f"policies/{each.digest}.json").write_text(each.to_json())
    paths = [f"policies/{each.digest}.json" for each in known]
    rows = []
    for n, c in enumerate(candidates):
        signature = SIGNATURE if c.signature == "metric:comet" else c.signature
        rows.append(replace(c, policy=paths[min(n, len(policies))], signature=signature, order=n + 1))
    Table(folder / "candidates.parquet").append(rows)
    return folder


def change_policies(folder: Path, change: Callable[[Policy], Policy]) -> None:
    """Gives every candidate of a run another policy."""
    rows = []
    for row in Table(folder / "candidates.parquet").read():
        changed = change(Policy.from_json((folder / row.policy).read_text()))
        path = f"policies/{changed.digest}.json"
        (folder / path).write_text(changed.to_json())
        rows.append(replace(row, policy=path))
    shutil.rmtree(folder / "candidates.parquet")
    Table(folder / "candidates.parquet").append(rows)


def add_model(folder: Path, original_bytes: int = 20_000) -> None:
    """What the engine tells of its model, and what it measured."""
    layer_of = {unit: next((layer for layer in LAYERS if unit.startswith(layer + ".")), None) for unit in UNITS}
    sizes = {"grid@1": 130, "grid@2": 255, "raw:bf16": 2000}
    units = [{"name": u, "layer": layer_of[u], "weights": WEIGHTS, "sizes": sizes} for u in UNITS]
    model = {"digest": DIGEST, "original_bytes": original_bytes, "layers": list(LAYERS), "units": units}
    (folder / "model.json").write_text(json.dumps(model))
    sensed: list[list[object]] = [
        ["level", u, level, 0.01 * (n + 1)] for n, u in enumerate(UNITS) for level in LEVELS[:2]
    ]
    sensed += [["drop", layer, "", 0.3] for layer in LAYERS[1:]]
    sensed += [["trim", "scripts:en,de", "", 0.001]]
    (folder / "sensitivities.json").write_text(json.dumps(sensed))


def crowded(vocabulary: str = "full") -> list[Candidate]:
    """Many recipes close together, single drops, and four steps of iterative pruning in each of three rounds."""
    rows = [
        candidate("original", 18_000, 0.9, recipe="original"),
        candidate("c00001", 1_500, 0.6, vocabulary=vocabulary),
    ]
    rows += [
        candidate(f"u{n}", 1_000 + 40 * n, 0.4 + 0.01 * n, recipe=f"uniform:grid@{n}:trellis") for n in range(1, 9)
    ]
    rows += [
        candidate(
            f"pruned-{n // 4 + 1}-lm.{n}",
            17_000 - 500 * (n // 4),
            0.85 - 0.01 * n,
            recipe="iterative-pruning",
            layers_dropped=n // 4 + 1,
            chrf=60.0 - n,
        )
        for n in range(12)
    ]
    rows += [candidate(f"drop:lm.{n}", 17_600 + n, 0.8 - 0.01 * n, recipe=f"drop:lm.{n}") for n in range(6)]
    return [*rows, candidate("fp16", 17_990, 0.9, recipe="fp16")]
