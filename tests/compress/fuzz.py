"""Mutated encoded tensors and artifacts: each is read, or refused in one line; nothing else may happen.

Half of the mutations of artifacts mend the checksums behind them, as someone with bad intentions would.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from compress.artifact.artifact import load
from compress.artifact.manifest import FILES, MANIFEST, WEIGHTS, Manifest, Section
from compress.codecs import Encoded, decode, encode
from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.errors import UserError
from compress.model.source import Source
from compress.pack import pack
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store, checksum
from tests.mutations import count_outcomes, mutated, nastily, one_line, within

LEVELS = ["raw:bf16", "int8", "nf4", "digits:2", "rtn:3:g16", "grid@0.5", "grid@2.5", "grid@8", "ffn:0.8+grid@3"]
SECONDS = 20.0  # an artifact is assembled from a whole model
LEVELS += ["grid@3:trellis"]


def encoded_tensors() -> list[bytes]:
    torch.manual_seed(0)
    weight = torch.randn(48, 64) * 0.05
    hessian = torch.eye(64) + 0.3
    levels = [level for level in LEVELS if not level.startswith("ffn")]
    return [
        encode(weight, level, hessian if calibrated else None).to_bytes() for level in levels for calibrated in (0, 1)
    ]


def try_tensor(seed: bytes, rng: random.Random) -> str:
    data = mutated(seed, rng)
    try:
        encoded = Encoded.from_bytes(data)
        value = decode(encoded)
    except UserError as refusal:
        return one_line(refusal, "tensor refused")
    assert tuple(value.shape) == encoded.shape
    return "tensor read"


class Artifacts:
    """One good artifact, and damaged copies of it."""

    def __init__(self, work: Path, source: Source) -> None:
        self.work = work
        rng = random.Random(0)
        store = Store(work / "store")
        start = recipe("drop:1", source.structure, source.digest)
        levels = {}
        for unit in start.remaining_units(source.structure):
            pruned = [level for level in LEVELS if unit.name == "lm.0.mlp" or not level.startswith("ffn")]
            levels[unit.name] = rng.choice([level for level in pruned if level != "rtn:3:g16" or unit.kind != "conv"])
        pack(source, Policy(source.digest, levels, start.dropped), store, work / "good")
        self.good = {name: (work / "good" / name).read_bytes() for name in (MANIFEST, WEIGHTS, FILES)}
        self.manifest = Manifest.from_bytes(self.good[MANIFEST])

    def attempt(self, rng: random.Random) -> str:
        """Write one damaged copy and read all of it."""
        kinds: list[Callable[[random.Random], dict[str, bytes]]] = [self.plain, self.lying, self.payload, self.files]
        kind = rng.choice(kinds)
        folder = self.work / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in kind(rng).items():
            (folder / name).write_bytes(data)
        try:
            load(folder)
        except UserError as refusal:
            return one_line(refusal, f"{kind.__name__} refused")
        return f"{kind.__name__} read"

    def plain(self, rng: random.Random) -> dict[str, bytes]:
        name = rng.choice(list(self.good))
        return self.good | {name: mutated(self.good[name], rng)}

    def lying(self, rng: random.Random) -> dict[str, bytes]:
        """A manifest with other values."""
        table = json.loads(zstd_decode(self.good[MANIFEST], 1 << 24))
        nastily(table, rng)
        return self.good | {MANIFEST: zstd_encode(json.dumps(table).encode(), 3)}

    def payload(self, rng: random.Random) -> dict[str, bytes]:
        """A damaged unit or group of unquantized tensors, with its size and checksum made valid."""
        parts = [*self.manifest.unquantized, *self.manifest.units]
        hit, at, stretches = rng.randrange(len(parts)), 0, []
        for index, part in enumerate(parts):
            data = self.good[WEIGHTS][at : at + part.nbytes]
            at += part.nbytes
            stretches.append(mutated(data, rng) if index == hit else data)
        mended = [Section(len(data), checksum(data)) for data in stretches]
        kept = len(self.manifest.unquantized)
        return self.mended(unquantized=tuple(mended[:kept]), units=tuple(mended[kept:])) | {
            WEIGHTS: b"".join(stretches)
        }

    def files(self, rng: random.Random) -> dict[str, bytes]:
        """Config, tokenizer or names of files with other values, checksum mended."""
        table = json.loads(zstd_decode(self.good[FILES], 1 << 24))
        name = rng.choice(list(table))
        if rng.random() < 0.2:
            table[rng.choice(["../up.json", "/etc/x.json", "a/b.json", "x.py", "evil.json", ""])] = table.pop(name)
        elif name.endswith(".json"):
            inner = json.loads(table[name])
            nastily(inner, rng)
            table[name] = json.dumps(inner)
        else:
            table[name] = mutated(table[name].encode(), rng).decode(errors="replace")
        data = zstd_encode(json.dumps(table).encode(), 3)
        return self.mended(files=Section(len(data), checksum(data))) | {FILES: data}

    def mended(self, **changes: Any) -> dict[str, bytes]:
        return self.good | {MANIFEST: replace(self.manifest, **changes).to_bytes()}


def fuzz(rounds: int, seed: int, source: Source, work: Path) -> Counter[str]:
    """How often what happened: tensors and artifacts in turn. Any exception but a UserError goes through."""
    tensors, artifacts = encoded_tensors(), Artifacts(work, source)

    def attempt(number: int, rng: random.Random) -> str:
        with within(SECONDS):
            return try_tensor(rng.choice(tensors), rng) if number % 2 else artifacts.attempt(rng)

    return count_outcomes(rounds, seed, attempt)
