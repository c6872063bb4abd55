"""Reading a run's folder: its configuration, candidates and policies.

Nothing is written and no lock is taken: the run may be in progress, of an older version, or from an unknown source.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import compress
from compress.errors import UserError, printable
from compress.models import resolve_model, weight_bytes
from compress.policy.policy import read_hashed_policy
from compress.sizes import Bin, bins_of, custom_bin, find_bin
from results.candidate import MOST, Candidate
from results.pareto import front
from results.rows.parts import all_parts
from results.rows.storage import Table
from results.run_files import read_json

TABLE = "candidates.parquet"
LEAST_COMET = 1e-6  # a share of less than this means nothing
RECOVERED = "recovered"
RECOVERY = "recovery.json"
ORIGINAL = "original"
JOINT = "+"  # in sensitivities.json, between the names of units, or of layers, that were changed together


@dataclass(frozen=True)
class UnitSize:
    """A unit in model.json: its layer, its number of weights, and its bytes at each level."""

    layer: str | None
    weights: int
    sizes: dict[str, int]


@dataclass(frozen=True)
class RunModel:
    """The model of a run, from model.json; empty for older runs, which have none."""

    digest: str = ""
    original_bytes: int = 0
    units: dict[str, UnitSize] = field(default_factory=dict)


@dataclass
class RunView:
    """A run as its folder describes it, read only: `RunView.open(folder)`.

    Candidates have no translations; `with_texts` reads those of a few.
    """

    path: Path
    config: dict[str, Any]
    candidates: list[Candidate]

    @classmethod
    def open(cls, folder: str | Path) -> RunView:
        """Raises UserError if this is not the folder of a run."""
        path = Path(folder)
        if not path.is_dir():
            raise UserError(f"there is no run at {path}: give the folder of a run, such as runs/NAME")
        config = read_json(path / "config.json", f"{path} is not a run's folder")
        if not isinstance(config, dict) or "lang" not in config:
            raise UserError(f"{path}/config.json is not the configuration of a run: {path} is not a run's folder")
        if not (path / TABLE).is_dir() or not all_parts(path / TABLE):
            raise UserError(f"run {path} has no candidates yet (no {TABLE}/part-*.parquet): let it score some first")
        _check_config(config, path / "config.json")
        return cls(path, config, Table(path / TABLE, make=False).read(texts=False))

    @property
    def name(self) -> str:
        return printable(str(self.config.get("name") or self.path.resolve().name))

    @property
    def title(self) -> str:
        return printable(f"{self.name}: {self.config.get('model', '?')}, {self.config.get('lang', '?')}")

    @property
    def table(self) -> Table:
        return Table(self.path / TABLE, make=False)

    @cached_property
    def model(self) -> RunModel:
        """What model.json says; empty where there is none."""
        if not (self.path / "model.json").exists():
            return RunModel()
        content = read_json(self.path / "model.json", "the model of the run")
        try:
            units = {
                str(u["name"]): UnitSize(
                    None if u["layer"] is None else str(u["layer"]),
                    int(u["weights"]),
                    {str(level): int(size) for level, size in u["sizes"].items()},
                )
                for u in content["units"]
            }
            return RunModel(str(content["digest"]), int(content["original_bytes"]), units)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{self.path}/model.json is damaged ({type(error).__name__}: {error}): remove it") from None

    @cached_property
    def original(self) -> Candidate | None:
        return next((c for c in self.candidates if c.candidate == ORIGINAL), None)

    @cached_property
    def original_bytes(self) -> int:
        """Bytes of the original weight files, which the bins depend on.

        Without model.json: of the embedded model's folder, or of the original packed as it is.
        """
        if self.model.original_bytes:
            return self.model.original_bytes
        if self.config.get("model") == "embedded":
            return weight_bytes(resolve_model("embedded"))
        return self.original.bytes if self.original else max(c.bytes for c in self.candidates)

    @cached_property
    def all_bins(self) -> tuple[Bin, ...]:
        return bins_of(self.original_bytes)

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """The bins that the search was started for."""
        high = self.config.get("max_bytes")
        if high is not None:
            return (custom_bin(int(self.config.get("min_bytes") or 0), int(high)),)
        names = [str(name) for name in self.config.get("bins") or ()]
        return tuple(each for each in self.all_bins if "all" in names or each.name in names)

    @cached_property
    def front(self) -> list[Candidate]:
        return front(self.candidates)

    @property
    def shown_bins(self) -> tuple[Bin, ...]:
        """All bins of the model, after the custom bin if the run has one."""
        return (*(each for each in self.bins if each not in self.all_bins), *self.all_bins)

    @property
    def front_in_bins(self) -> list[Candidate]:
        """Members of the front that lie inside the bins of the run."""
        return [c for c in self.front if any(each.holds(c.bytes) for each in self.bins)]

    @property
    def top_comet(self) -> float:
        """The COMET that hypervolumes are measured up to: the original's, or 1 if that was not scored."""
        original = self.original
        return original.comet if original and original.comparable and original.comet > LEAST_COMET else 1.0

    @cached_property
    def sensitivities(self) -> list[tuple[str, str, str, float]]:
        """(kind, unit or layer, level, KL) as they were measured; empty where none were."""
        if not (self.path / "sensitivities.json").exists():
            return []
        content = read_json(self.path / "sensitivities.json", "the sensitivities of the run")
        try:
            return [(str(kind), str(name), str(level), _number(kl)) for kind, name, level, kl in content]
        except (TypeError, ValueError):
            raise UserError(f"{self.path}/sensitivities.json is damaged: remove it") from None

    def candidates_in(self, bin_name: str | None) -> list[Candidate]:
        """The candidates inside a bin; all of them for None."""
        if bin_name is None:
            return self.candidates
        limits = find_bin(bin_name, self.all_bins)
        return [c for c in self.candidates if limits.holds(c.bytes)]

    def find(self, name: str) -> Candidate:
        """A candidate by name; the last one if several have that name."""
        for candidate in reversed(self.candidates):
            if candidate.candidate == name:
                return candidate
        some = ", ".join(c.candidate for c in self.front[:4])
        raise UserError(f"run {self.path} has no candidate '{name}'; on its front are {some or 'none'}")

    def with_texts(self, names: Sequence[str]) -> dict[str, Candidate]:
        """Candidates with their translations and scores of segments, by name."""
        return self.table.read_by_name(set(names))

    def policy(self, candidate: Candidate) -> compress.Policy:
        """Raises UserError for a path outside of the folder: the table may be from an unknown source."""
        path = (self.path / candidate.policy).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise UserError(f"candidate {candidate.candidate} names a policy outside of its run: {candidate.policy!r}")
        if not os.path.isfile(path):  # False too for what no file can be called, unlike pathlib's
            raise UserError(f"the policy of candidate {candidate.candidate} is missing: {path}")
        return read_hashed_policy(path)

    def recovery(self, candidate: Candidate) -> Path | None:
        """The folder with the tensors that training changed; None if not recovered. Never outside of the run."""
        home = (self.path / RECOVERED).resolve()
        folder = (home / candidate.candidate).resolve()
        inside = folder != home and folder.is_relative_to(home)
        return folder if inside and os.path.isfile(folder / RECOVERY) else None


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuses values of other types than those that are read here; any others are only shown."""
    for name in ("min_bytes", "max_bytes", "segments"):
        value = config.get(name)
        if value is not None and (type(value) is not int or not 0 <= value < MOST):
            raise UserError(f"{path} is damaged: {name} is {str(value)[:40]}, not a whole number")
    bins = config.get("bins") or []
    if not isinstance(bins, list) or not all(isinstance(each, str) for each in bins):
        raise UserError(f"{path} is damaged: bins is no list of names")


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
