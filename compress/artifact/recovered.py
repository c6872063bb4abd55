"""A recovered model: an original with what training changed laid over it, so that what is trained is what is shipped.

To everything else it is a source like any other. Three things may differ from the original's: tensors that are kept as
they are (norms, biases), units whose payload at one level was written anew (merged and encoded again, or with other
scales), and adapters beside units. All of it lies in one folder, `recovery.json` and `recovery.safetensors`; the big
original stays where it is. Ledger, packing and residents then count, write and use the very same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.artifact.adapters import Adapter
from compress.errors import UserError, first_line
from compress.model.source import Source
from compress.policy.policy import Policy

FORMAT = "recovery-1"
JSON, TENSORS = "recovery.json", "recovery.safetensors"
_MOST_JSON = 16 << 20


@dataclass(frozen=True)
class TrainedPayload:
    """A unit's payload at the one level it was trained for."""

    level: str
    vocabulary: str
    payload: bytes

    def at(self, unit: str, level: str, vocabulary: str) -> bytes:
        if (level, vocabulary) != (self.level, self.vocabulary):
            raise UserError(
                f"unit {unit} of this recovered model was trained at level {self.level}, vocabulary {self.vocabulary};"
                f" it has no {level}, vocabulary {vocabulary}"
            )
        return self.payload


@dataclass(frozen=True)
class RecoveryDelta:
    """What training changed. `policy` is that of the candidate it began with, so for the original's digest."""

    policy: Policy
    unquantized: Mapping[str, Tensor] = field(default_factory=dict)
    units: Mapping[str, bytes] = field(default_factory=dict)  # payloads at the policy's levels
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)  # how it was made; for people

    def save(self, folder: Path) -> None:
        """Writes the folder; it appears whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"kept/{name}": value.detach().cpu().contiguous() for name, value in self.unquantized.items()}
        tensors |= {f"unit/{name}": _bytes(payload) for name, payload in self.units.items()}
        tensors |= {f"adapter/{name}": _bytes(adapter.payload) for name, adapter in self.adapters.items()}
        table = {
            "format": FORMAT,
            "policy": self.policy.to_dict(),
            "adapters": {name: [adapter.level, adapter.rank] for name, adapter in self.adapters.items()},
            "about": dict(self.about),
        }
        if folder.exists():
            raise UserError(f"{folder} exists already; give another name or remove it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        try:
            partial.chmod(0o755)
            save_file(tensors, str(partial / TENSORS))
            (partial / JSON).write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.rename(partial, folder)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror or error}; nothing was left behind") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def read(cls, folder: str | Path) -> RecoveryDelta:
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            if (folder / JSON).stat().st_size > _MOST_JSON:
                raise UserError(f"{folder / JSON} is larger than any recovery's")
            table = json.loads((folder / JSON).read_text(encoding="utf-8"))
            tensors = load_file(str(folder / TENSORS))
        except OSError:
            raise UserError(f"no recovery at {folder}: {JSON} and {TENSORS} are not both there") from None
        except UserError:
            raise
        except Exception as error:  # safetensors raises a class of its own
            raise UserError(f"damaged recovery {folder}: {first_line(error)}") from None
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise UserError(f"{folder} is not a recovery of format {FORMAT}")
        policy = Policy.from_dict(table.get("policy"))
        told = table.get("adapters")
        parts: dict[str, dict[str, Tensor]] = {"kept": {}, "unit": {}, "adapter": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in parts or not rest:
                raise UserError(f"damaged recovery {folder}: a tensor {name[:60]!r}")
            parts[kind][rest] = value
        if not isinstance(told, dict) or set(told) != set(parts["adapter"]):
            raise UserError(f"damaged recovery {folder}: its adapters are not those of its table")
        try:
            adapters = {
                name: Adapter(name, str(level), int(rank), _payload(parts["adapter"][name]))
                for name, (level, rank) in told.items()
            }
        except (TypeError, ValueError):
            raise UserError(f"damaged recovery {folder}: its adapters give no level and rank") from None
        units = {name: _payload(value) for name, value in parts["unit"].items()}
        about = table.get("about")
        return cls(policy, parts["kept"], units, adapters, about if isinstance(about, dict) else {})


class RecoveredSource(Source):
    """A source whose kept tensors, payloads and adapters are those of a recovery."""

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
                raise UserError(f"damaged recovery: {name} is no kept tensor of this model, or has another shape")
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
        """The policy of the recovered candidate."""
        return replace(self.recovery.policy, model=self.digest)

    def tensor(self, name: str) -> Tensor:
        return self.recovery.unquantized[name] if name in self.recovery.unquantized else self.base.tensor(name)

    def tensor_digest(self, name: str) -> str:
        if name in self._changed:
            return self._changed[name]
        if name in self.recovery.unquantized:
            value = self.recovery.unquantized[name].contiguous()
            state = hashlib.blake2b(f"{value.dtype}{tuple(value.shape)}".encode(), digest_size=16)
            state.update(value.view(-1).view(torch.uint8).numpy().data)
            return state.hexdigest()
        return self.base.tensor_digest(name)

    @property
    def digest(self) -> str:
        """The original's digest and all that was laid over it."""
        if "_digest" not in vars(self):
            state = hashlib.blake2b(self.base.digest.encode(), digest_size=16)
            for name in sorted((*self.recovery.unquantized, *self._changed)):
                state.update(f"{name}={self.tensor_digest(name)};".encode())
            for name, adapter in sorted(self.adapters.items()):
                told = hashlib.blake2b(adapter.payload).hexdigest()
                state.update(f"{name}+{adapter.level}:{adapter.rank}={told};".encode())
            self._digest = state.hexdigest()
        return self._digest


def _bytes(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)


def _payload(value: Tensor) -> bytes:
    if value.dtype != torch.uint8 or value.dim() != 1:
        raise UserError("damaged recovery: a payload that is not bytes")
    return bytes(value.numpy())
