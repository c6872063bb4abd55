"""A search without Ray: the embedded model, one language, in this process, every measurement kept on disk.

What the sampler benchmark needs: the space of a run, its sensitivities, and COMET and KL of any choice. A policy that
was measured once is never measured again, by whatever method it is asked for, so that methods can be compared over
many seeds; each still pays for every evaluation it asks for.
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
from compress.codecs import codec
from compress.sizes import bins_of
from evaluate.metrics.comet import Comet
from evaluate.spec import EvalSpec
from search.space.allocate import ActionCosts
from search.space.constraint import SizeConstraint
from search.space.space import DEFAULT_LEVELS, Choice, Space, make_space


class Kept:
    """Named numbers in a file of JSON lines; readable while others write, a torn last line is left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        self._read = 0

    def get(self, key: str) -> Any:
        if key not in self.known:
            self._refresh()
        return self.known.get(key)

    def put(self, key: str, value: Any) -> None:
        self.known[key] = value
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
                    self.known[key] = value


class Lab:
    """One language of the embedded model. `segments` of dev are translated for COMET, `near` of them give KL."""

    def __init__(self, folder: Path, lang: str, segments: int = 48, near: int = 24) -> None:
        self.folder, self.lang = folder, lang
        folder.mkdir(parents=True, exist_ok=True)
        self._comet: Comet | None = None
        self.worker = Worker(
            Context(
                model=str(embedded.MODEL),
                store=str(folder / "store"),
                spec=EvalSpec("embedded", "dev", lang, segments, batch_size=64, max_new_tokens=48),
                sense_segments=near,
                part=(),
                scorers=(),
                device="cpu",
                threads=1,
            ),
            self._score,
        )
        self._scores = Kept(folder / f"{lang}-{segments}.comet.jsonl")
        self._near = Kept(folder / f"{lang}-{segments}-{near}.kl.jsonl")
        self.bins = {each.name: each for each in bins_of(self.worker.source.original_bytes)}
        self._prepare()

    def _score(self, *texts: Any) -> list[float]:
        if self._comet is None:
            self._comet = Comet(str(embedded.COMET), threads=1)
        return self._comet.score(*texts)

    def _prepare(self) -> None:
        """Everything a run does before it searches."""
        worker, source = self.worker, self.worker.source
        facts = Kept(self.folder / f"{self.lang}.facts.jsonl")
        if facts.get("original") is None:
            (outcome,) = worker.score(None)
            facts.put("texts", outcome["hypotheses"])
            facts.put("original", float(np.mean(outcome["comet_segments"])))
        self.original: float = facts.get("original")
        self.texts: list[str] = facts.get("texts")
        self.said = keep_reference_outputs(worker.store, self.texts)
        if facts.get("calibration") is None:
            facts.put("calibration", worker.calibrate(self.said)["calibration"])
        self.calibration: str = facts.get("calibration")
        if facts.get("errors") is None:
            pairs = [(unit, level) for unit in source.structure.units for level in DEFAULT_LEVELS]
            built = worker.build([p for p in pairs if codec(p[1]).uses_hessian], self.calibration)["built"]
            built += worker.build([p for p in pairs if not codec(p[1]).uses_hessian], "")["built"]
            facts.put("errors", built)
        self.errors = {(unit, level): error for unit, level, error in facts.get("errors")}
        self.ledger = compress.Ledger(source, worker.store, DEFAULT_LEVELS, self.calibration)
        structure = source.structure
        self.space: Space = make_space(
            model=source.digest,
            units={name: unit.layer for name, unit in structure.units.items()},
            layers=[layer.name for layer in structure.layers],
            levels=DEFAULT_LEVELS,
            sizes={pair: self.ledger.size(*pair) for pair in self.errors},
            unquantized={layer.name: self.ledger.unquantized_bytes(layer.name) for layer in structure.layers},
            droppable={layer.name: layer.index > 0 for layer in structure.layers},
            calibration=self.calibration,
        )
        self.constraint = SizeConstraint(self.space, self.ledger.predict)
        todo: list[tuple[str, str, str]] = [
            (LEVEL, unit, level) for unit, level in self.errors if not level.startswith("raw")
        ] + [(DROP, layer, "") for layer, may in zip(self.space.layers, self.space.droppable, strict=True) if may]
        known = {tuple(k): v for k, v in (facts.get("sensed") or [])}
        if len(known) < len(todo):
            found = worker.sense(todo, self.calibration, self.said)["sensed"]
            facts.put("sensed", [[[kind, name, level], kl] for kind, name, level, kl in found])
            known = {tuple(k): v for k, v in facts.get("sensed")}
        levels = np.zeros_like(self.space.sizes)
        for (kind, name, level), kl in known.items():
            if kind == LEVEL:
                levels[self.space.unit_rows[name], self.space.level_columns[level]] = kl
        drops = np.array([known.get((DROP, layer, ""), 20.0) for layer in self.space.layers])
        self.sensitivities = ActionCosts(np.maximum(levels, 1e-7), np.maximum(drops, 1e-7))

    def comet(self, choice: Choice) -> float:
        return self.comet_of(self.space.policy(choice))

    def comet_of(self, policy: compress.Policy) -> float:
        key = policy.digest
        if (known := self._scores.get(key)) is None:
            (outcome,) = self.worker.score(policy.to_json())
            known = float(np.mean(outcome["comet_segments"]))
            self._scores.put(key, known)
        return float(known)

    def kl(self, choice: Choice) -> float:
        policy = self.space.policy(choice)
        key = policy.digest
        if (known := self._near.get(key)) is None:
            known = next(self.worker.score(policy.to_json(), [KL], self.said))["kl"]
            self._near.put(key, known)
        return float(known)
