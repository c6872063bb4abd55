"""Evaluates choices on the embedded model in this process, without Ray, and keeps all measurements on disk.

The sampler benchmark takes from it the space of a run, its sensitivities, and COMET and KL of any choice. A policy is
measured only once, whichever methods propose it, so many seeds are affordable; each method's count of evaluations
includes those read from disk.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import compress
import embedded
from cluster.jobs import DROP, KL, LEVEL, Context, keep_reference_outputs
from cluster.worker import Worker
from compress.codecs import codec, with_trellis
from compress.sizes import bins_of
from evaluate.metrics.comet import Comet
from evaluate.spec import EvalSpec
from search.space.allocate import ActionCosts
from search.space.constraint import SizeConstraint
from search.space.space import DEFAULT_LEVELS, Choice, Space, make_space


class MeasurementFile:
    """Named values in a file of JSON lines. It can be read while others write; an incomplete last line is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self._read = 0

    def get(self, key: str) -> Any:
        if key not in self.values:
            self._refresh()
        return self.values.get(key)

    def put(self, key: str, value: Any) -> None:
        self.values[key] = value
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([key, value]) + "\n")

    def _refresh(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                with contextlib.suppress(json.JSONDecodeError):
                    key, value = json.loads(line)
                    self.values[key] = value


class LocalEvaluator:
    """One language of the embedded model: COMET on `segments` segments of dev, KL on `kl_segments` of them. Its levels
    are the default ones of a search; a folder holds measurements with or without the trellis, not of both."""

    def __init__(
        self, folder: Path, lang: str, segments: int = 48, kl_segments: int = 24, trellis: bool = False
    ) -> None:
        self.levels = tuple(with_trellis(level) for level in DEFAULT_LEVELS) if trellis else DEFAULT_LEVELS
        self.folder, self.lang = folder, lang
        folder.mkdir(parents=True, exist_ok=True)
        self._comet: Comet | None = None
        self.worker = Worker(
            Context(
                model=str(embedded.MODEL),
                store=str(folder / "store"),
                spec=EvalSpec("embedded", "dev", lang, segments, batch_size=64, max_new_tokens=48),
                sense_segments=kl_segments,
                part=(),
                scorers=(),
                device="cpu",
                threads=1,
            ),
            self._score,
        )
        self._comet_scores = MeasurementFile(folder / f"{lang}-{segments}.comet.jsonl")
        self._kls = MeasurementFile(folder / f"{lang}-{segments}-{kl_segments}.kl.jsonl")
        self.bins = {each.name: each for each in bins_of(self.worker.source.original_bytes)}
        self._prepare()

    def _score(self, *texts: Any) -> list[float]:
        if self._comet is None:
            self._comet = Comet(str(embedded.COMET), threads=1)
        return self._comet.score(*texts)

    def _prepare(self) -> None:
        """What a run does before its search: original, calibration, encoding, sensitivities."""
        worker, source = self.worker, self.worker.source
        stored = MeasurementFile(self.folder / f"{self.lang}.facts.jsonl")
        if stored.get("original") is None:
            (outcome,) = worker.score(None)
            stored.put("texts", outcome["hypotheses"])
            stored.put("original", float(np.mean(outcome["comet_segments"])))
        self.original: float = stored.get("original")
        self.texts: list[str] = stored.get("texts")
        self.reference = keep_reference_outputs(worker.store, self.texts)
        if stored.get("calibration") is None:
            stored.put("calibration", worker.calibrate(self.reference)["calibration"])
        self.calibration: str = stored.get("calibration")
        if stored.get("errors") is None:
            pairs = [(unit, level) for unit in source.structure.units for level in self.levels]
            built = worker.build([p for p in pairs if codec(p[1]).uses_hessian], self.calibration)["built"]
            built += worker.build([p for p in pairs if not codec(p[1]).uses_hessian], "")["built"]
            stored.put("errors", built)
        self.errors = {(unit, level): error for unit, level, error in stored.get("errors")}
        self.ledger = compress.Ledger(source, worker.store, self.levels, self.calibration)
        structure = source.structure
        self.space: Space = make_space(
            model=source.digest,
            units={name: unit.layer for name, unit in structure.units.items()},
            layers=[layer.name for layer in structure.layers],
            levels=self.levels,
            sizes={pair: self.ledger.size(*pair) for pair in self.errors},
            unquantized={layer.name: self.ledger.unquantized_bytes(layer.name) for layer in structure.layers},
            droppable={layer.name: layer.index > 0 for layer in structure.layers},
            calibration=self.calibration,
        )
        self.constraint = SizeConstraint(self.space, self.ledger.predict)
        actions: list[tuple[str, str, str]] = [
            (LEVEL, unit, level) for unit, level in self.errors if not level.startswith("raw")
        ] + [
            (DROP, layer, "")
            for layer, droppable in zip(self.space.layers, self.space.droppable, strict=True)
            if droppable
        ]
        kls = {tuple(k): v for k, v in (stored.get("sensed") or [])}
        if len(kls) < len(actions):
            sensed = worker.sense(actions, self.calibration, self.reference)["sensed"]
            stored.put("sensed", [[[kind, name, level], kl] for kind, name, level, kl in sensed])
            kls = {tuple(k): v for k, v in stored.get("sensed")}
        levels = np.zeros_like(self.space.sizes)
        for (kind, name, level), kl in kls.items():
            if kind == LEVEL:
                levels[self.space.unit_rows[name], self.space.level_columns[level]] = kl
        drops = np.array([kls.get((DROP, layer, ""), 20.0) for layer in self.space.layers])
        self.sensitivities = ActionCosts(np.maximum(levels, 1e-7), np.maximum(drops, 1e-7))

    def comet(self, choice: Choice) -> float:
        return self.comet_of(self.space.policy(choice))

    def comet_of(self, policy: compress.Policy) -> float:
        key = policy.digest
        if (value := self._comet_scores.get(key)) is None:
            (outcome,) = self.worker.score(policy.to_json())
            value = float(np.mean(outcome["comet_segments"]))
            self._comet_scores.put(key, value)
        return float(value)

    def kl(self, choice: Choice) -> float:
        policy = self.space.policy(choice)
        key = policy.digest
        if (value := self._kls.get(key)) is None:
            value = next(self.worker.score(policy.to_json(), [KL], self.reference))["kl"]
            self._kls.put(key, value)
        return float(value)
