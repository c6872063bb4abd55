"""Compressed models: codecs, policies, and artifacts whose bytes are known before they are written.

`Source` reads a checkpoint, `build` encodes a unit into a `Store`, a `Ledger` predicts the bytes of any `Policy`,
`Resident` applies a policy in memory, `pack` writes it as an artifact, and `load` reads that.
Modules are imported at the first use of a name, because torch takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.artifact.artifact import Artifact, load
    from compress.artifact.recovered import RecoveredSource, RecoveryDelta
    from compress.calibration.calibrate import calibrate
    from compress.errors import UserError
    from compress.inspect import inspect
    from compress.model.source import Source
    from compress.model.structure import Layer, Structure, Unit, read_structure
    from compress.pack import pack
    from compress.policy import recipes as recipes
    from compress.policy.ledger import Ledger
    from compress.policy.policy import Policy, read_policy
    from compress.policy.store import Store
    from compress.policy.variant import EncodeOptions, Variant, build
    from compress.resident import Resident
    from compress.unpack import unpack
    from compress.verify import verify

_MODULE_OF = {
    "Structure": "model.structure",
    "Artifact": "artifact.artifact",
    "Layer": "model.structure",
    "Ledger": "policy.ledger",
    "Policy": "policy.policy",
    "RecoveredSource": "artifact.recovered",
    "RecoveryDelta": "artifact.recovered",
    "UserError": "errors",
    "Resident": "resident",
    "Source": "model.source",
    "Store": "policy.store",
    "Unit": "model.structure",
    "Variant": "policy.variant",
    "EncodeOptions": "policy.variant",
    "build": "policy.variant",
    "calibrate": "calibration.calibrate",
    "load": "artifact.artifact",
    "read_structure": "model.structure",
    "read_policy": "policy.policy",
}
_MODULES = {name: name for name in ("codecs", "errors", "inspect", "pack", "unpack", "verify")}
_MODULES["recipes"] = "policy.recipes"

__all__ = [
    "Artifact",
    "EncodeOptions",
    "Layer",
    "Ledger",
    "Policy",
    "RecoveredSource",
    "RecoveryDelta",
    "Resident",
    "Source",
    "Store",
    "Structure",
    "Unit",
    "UserError",
    "Variant",
    "build",
    "calibrate",
    "inspect",
    "load",
    "pack",
    "read_policy",
    "read_structure",
    "unpack",
    "verify",
]


if not TYPE_CHECKING:  # so that mypy knows only the names above

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"compress.{_MODULES[name]}")
        if name in _MODULE_OF:
            return getattr(import_module(f"compress.{_MODULE_OF[name]}"), name)
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
