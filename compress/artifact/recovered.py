"""A recovered model: an original with the changes that training made to it.

It is a source like any other, so that ledger, packing and residents count, write and use the same bytes. Training may
change unquantized tensors (norms, biases), the payload of units at one level (merged and encoded again, or with other
scales), and may add adapters. The changes are saved as `recovery.json` and `recovery.safetensors` in one folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from compress.artifact.adapters import Adapter
from compress.atomic_folder import atomic_folder
from compress.errors import UserError, first_line
from compress.model.source import Source, tensor_hash
from compress.policy.policy import Policy

FORMAT = "recovery-1"
JSON, TENSORS = "recovery.json", "recovery.safetensors"
_MOST_JSON = 16 << 20


@dataclass(frozen=True)
class TrainedPayload:
    """A unit's payload, trained at one level and vocabulary."""

    level: str
    vocabulary: str
    payload: bytes

    def at(self, unit: str, level: str, vocabulary: str) -> bytes:
        """The payload. Refuses a level or vocabulary that it was not trained for."""
        if (level, vocabulary) != (self.level, self.vocabulary):
            raise UserError(
                f"unit {unit} of this recovered model was trained at level {self.level}, vocabulary {self.vocabulary};"
                f" it has no {level}, vocabulary {vocabulary}"
            )
        return self.payload


@dataclass(frozen=True)
class RecoveryDelta:
    """What training changed. `policy` is that of the candidate it began with, for the original's digest."""

    policy: Policy
    unquantized: Mapping[str, Tensor] = field(default_factory=dict)
    units: Mapping[str, bytes] = field(default_factory=dict)  # payloads at the policy's levels
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)  # provenance, for people

    def save(self, folder: Path) -> None:
        """Write the folder, which appears whole or not at all."""
        tensors = {f"kept/{name}": value.detach().cpu().contiguous() for name, value in self.unquantized.items()}
        tensors |= {f"unit/{name}": _bytes(payload) for name, payload in self.units.items()}
        tensors |= {f"adapter/{name}": _bytes(adapter.payload) for name, adapter in self.adapters.items()}
        table: dict[str, Any] = {
            "format": FORMAT,
            "policy": self.policy.to_dict(),
            "adapters": {name: [adapter.level, adapter.rank] for name, adapter in self.adapters.items()},
            "about": dict(self.about),
        }
        with atomic_folder(folder) as partial:
            save_file(tensors, str(partial / TENSORS))
            table["checksum"] = _checksum(table, partial / TENSORS)
            (partial / JSON).write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> RecoveryDelta:
        """Read a folder that `save` wrote. Refuses damaged ones."""
        folder = Path(folder)
        if not (folder / JSON).is_file() or not (folder / TENSORS).is_file():
            raise UserError(f"no recovery at {folder}: {JSON} and {TENSORS} are not both there")
        if (folder / JSON).stat().st_size > _MOST_JSON:
            raise UserError(f"{folder / JSON} is too large for a recovery")
        try:
            table = json.loads((folder / JSON).read_text(encoding="utf-8"))
            tensors = load_file(str(folder / TENSORS))
        except Exception as error:  # safetensors raises a class of its own
            raise UserError(f"damaged recovery {folder}: {first_line(error)}") from None
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise UserError(f"{folder} is not a recovery of format {FORMAT}")
        noted = table.pop("checksum", None)  # none in those of older versions
        if noted is not None and noted != _checksum(table, folder / TENSORS):
            raise UserError(f"damaged recovery {folder}: its checksum does not match; make it again")
        policy = Policy.from_dict(table.get("policy"))
        levels = table.get("adapters")
        by_kind: dict[str, dict[str, Tensor]] = {"kept": {}, "unit": {}, "adapter": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in by_kind or not rest:
                raise UserError(f"damaged recovery {folder}: a tensor {name[:60]!r}")
            by_kind[kind][rest] = value
        if not isinstance(levels, dict) or set(levels) != set(by_kind["adapter"]):
            raise UserError(f"damaged recovery {folder}: {JSON} and {TENSORS} name different adapters")
        try:
            adapters = {
                name: Adapter(name, str(level), int(rank), _payload(by_kind["adapter"][name]))
                for name, (level, rank) in levels.items()
            }
        except (TypeError, ValueError):
            raise UserError(f"damaged recovery {folder}: its adapters give no level and rank") from None
        units = {name: _payload(value) for name, value in by_kind["unit"].items()}
        about = table.get("about")
        return cls(policy, by_kind["kept"], units, adapters, about if isinstance(about, dict) else {})


class RecoveredSource(Source):
    """An original with a recovery delta applied: a source with its own tensors, payloads, adapters and digest."""

    def __init__(self, base: Source, recovery: RecoveryDelta) -> None:
        vars(self).update(vars(base))
        vars(self).pop("digest", None)
        self.base, self.recovery = base, recovery
        self._unquantized, self._digests = {}, {}
        if recovery.policy.model != base.digest:
            raise UserError(
                f"this recovery is for model {recovery.policy.model}, not for {base.digest}:"
                " give the model it was made of"
            )
        recovery.policy.check(base.structure)
        for name, value in recovery.unquantized.items():
            if name not in base.structure.unquantized or value.shape != base.tensor(name).shape:
                raise UserError(
                    f"damaged recovery: {name} is not an unquantized tensor of this model, or has another shape"
                )
        levels = recovery.policy.levels
        stray = [name for name in (*recovery.units, *recovery.adapters) if name not in levels]
        if stray:
            raise UserError(f"damaged recovery: it changes unit {stray[0]}, which its policy does not have")
        vocabulary = recovery.policy.vocabulary
        self.replaced = {n: TrainedPayload(levels[n], vocabulary, p) for n, p in recovery.units.items()}
        self.adapters = dict(recovery.adapters)
        self._changed = {
            tensor: hashlib.blake2b(payload, digest_size=16).hexdigest()
            for name, payload in recovery.units.items()
            for tensor in base.structure.unit(name).tensors
        }

    @classmethod
    def open_at(cls, base: Source, folder: str | Path) -> RecoveredSource:
        return cls(base, RecoveryDelta.read(folder))

    @property
    def policy(self) -> Policy:
        """The candidate's policy, for this model."""
        return replace(self.recovery.policy, model=self.digest)

    def tensor(self, name: str) -> Tensor:
        return self.recovery.unquantized[name] if name in self.recovery.unquantized else self.base.tensor(name)

    def tensor_digest(self, name: str) -> str:
        if name in self._changed:
            return self._changed[name]
        if name in self.recovery.unquantized:
            return tensor_hash(self.recovery.unquantized[name])
        return self.base.tensor_digest(name)

    @cached_property
    def digest(self) -> str:
        """A hash of the original's digest and of all changes."""
        state = hashlib.blake2b(self.base.digest.encode(), digest_size=16)
        for name in sorted((*self.recovery.unquantized, *self._changed)):
            state.update(f"{name}={self.tensor_digest(name)};".encode())
        for name, adapter in sorted(self.adapters.items()):
            payload = hashlib.blake2b(adapter.payload).hexdigest()
            state.update(f"{name}+{adapter.level}:{adapter.rank}={payload};".encode())
        return state.hexdigest()


def _checksum(table: Mapping[str, Any], tensors: Path) -> str:
    """Of everything that `recovery.json` says and of the file of tensors."""
    state = hashlib.blake2b(json.dumps(table, sort_keys=True).encode(), digest_size=16)
    with tensors.open("rb") as stream:
        while piece := stream.read(1 << 24):
            state.update(piece)
    return state.hexdigest()


def _bytes(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)


def _payload(value: Tensor) -> bytes:
    if value.dtype != torch.uint8 or value.dim() != 1:
        raise UserError("damaged recovery: a payload that is not bytes")
    return bytes(value.numpy())
