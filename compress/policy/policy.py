"""A policy: the action for each unit of one model. Plain data, JSON, identified by its hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compress.codecs import canonical, codec
from compress.errors import UserError, parse_json
from compress.model.structure import Structure, Unit

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_FIELDS = ("model", "levels", "dropped", "vocabulary", "calibration")
MOST_BYTES = 4 << 20  # no policy is larger than this as JSON


@dataclass(frozen=True)
class Policy:
    """Unit -> level, the dropped layers, and the vocabulary.

    `model` is the digest of the model it is for. `calibration` is the digest of the statistics for its levels, empty
    for none. Levels of units in dropped layers are removed.
    """

    model: str
    levels: Mapping[str, str]
    dropped: tuple[str, ...] = ()
    vocabulary: str = "full"
    calibration: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not _DIGEST.fullmatch(self.model):
            raise UserError(f"a policy names its model by digest, not {self.model!r}")
        if not isinstance(self.levels, Mapping):
            raise UserError("the levels of a policy are a table unit -> level")
        if not isinstance(self.dropped, (list, tuple)) or not all(_is_name(name) for name in self.dropped):
            raise UserError(f"dropped layers are a list of names such as lm.3, not {self.dropped!r}")
        if not isinstance(self.vocabulary, str) or not re.fullmatch(r"[a-z]+[a-z0-9:,+@._-]{0,99}", self.vocabulary):
            raise UserError(f"unknown vocabulary {self.vocabulary!r}; write full, scripts:en,zh or top:N:DIGEST")
        if not isinstance(self.calibration, str) or (self.calibration and not _DIGEST.fullmatch(self.calibration)):
            raise UserError(f"a calibration is named by its digest, not {self.calibration!r}")
        dropped = tuple(sorted(set(self.dropped), key=_natural))
        levels = {}
        for unit in sorted(self.levels, key=str):
            if not _is_name(unit) or not isinstance(self.levels[unit], str):
                raise UserError(
                    f"a policy gives a level to each unit by name; {unit!r}: {self.levels[unit]!r} is not valid"
                )
            if not any(unit.startswith(layer + ".") for layer in dropped):
                levels[unit] = canonical(self.levels[unit])
        object.__setattr__(self, "dropped", dropped)
        object.__setattr__(self, "levels", MappingProxyType(levels))

    @cached_property
    def digest(self) -> str:
        return _hash(self.to_json().encode())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Policy.from_json, (self.to_json(),)

    def to_dict(self) -> dict[str, Any]:
        table: dict[str, Any] = {"model": self.model, "levels": dict(self.levels)}
        if self.dropped:
            table["dropped"] = list(self.dropped)
        if self.vocabulary != "full":
            table["vocabulary"] = self.vocabulary
        if self.calibration:
            table["calibration"] = self.calibration
        return table

    def to_json(self) -> str:
        """Canonical: equal policies give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Policy:
        if len(text) > MOST_BYTES:
            raise UserError(f"{len(text)} bytes are too many for a policy")
        return cls.from_dict(parse_json(text, "this is not a policy: it is not JSON"))

    @classmethod
    def from_dict(cls, raw: object) -> Policy:
        if not isinstance(raw, dict) or "model" not in raw or not isinstance(raw.get("levels"), dict):
            raise UserError("this is not a policy: it needs at least model and levels")
        unknown = [str(key) for key in raw if key not in _FIELDS]
        if unknown:
            raise UserError(f"a policy has the fields {', '.join(_FIELDS)}; not {unknown[0][:40]!r}")
        return cls(**raw)

    def check(self, structure: Structure, model: str | None = None) -> None:
        """Refuse a policy with another model's digest, layers or units, or with levels that do not fit its units."""
        if model is not None and model != self.model:
            raise UserError(f"this policy is for model {self.model}, not for {model}")
        for name in self.dropped:
            structure.layer(name)
        for stack in structure.stacks:
            if sum(name.rpartition(".")[0] == stack.name for name in self.dropped) >= stack.length:
                raise UserError(f"this policy drops all {stack.length} layers of {stack.name}; keep at least one")
        for name, level in self.levels.items():
            unit = structure.unit(name)
            codec(level).refuse_unsupported(unit.shapes, unit.roles, f"unit {name}")
        missing = [u.name for u in self.remaining_units(structure) if u.name not in self.levels]
        if missing:
            raise UserError(f"this policy gives no level to unit {missing[0]} ({len(missing)} missing in total)")

    def remaining_units(self, structure: Structure) -> list[Unit]:
        """The units that are not dropped, in the order of an artifact."""
        return [unit for unit in structure.units.values() if unit.layer not in self.dropped]


def read_policy(path: Path) -> Policy:
    """A policy from a JSON file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a policy")
        return Policy.from_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read policy {path}: {error.strerror or error}") from None


def read_hashed_policy(path: Path) -> Policy:
    """A policy from a file that is named by its hash, as runs keep them. Refuses one whose content has another."""
    policy = read_policy(path)
    if path.stem not in (policy.digest, _hash(path.read_bytes())):
        raise UserError(f"policy {path} is damaged: it is named by its hash, and has another")
    return policy


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _natural(name: str) -> tuple[str, int, str]:
    head, _, tail = name.rpartition(".")
    return (head, int(tail), "") if tail.isdecimal() else (name, -1, "")
