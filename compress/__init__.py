"""Compressed models: codecs, policies, and artifacts whose bytes are known before they are written.

`Source` reads a checkpoint, `build` encodes a unit into a `Store`, a `Ledger` predicts the bytes of any `Policy`,
`Resident` applies a policy in memory, `pack` writes it as an artifact, and `load` reads that.
Modules are imported at the first use of a name, because torch takes seconds to import.
"""

# ruff: noqa: F401 (the imports are for type checkers and editors)
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
    from compress.policy import recipes
    from compress.policy.ledger import Ledger
    from compress.policy.policy import Policy, read_policy
    from compress.policy.store import Store
    from compress.policy.variant import EncodeOptions, Variant, build
    from compress.resident import Resident
    from compress.unpack import unpack
    from compress.verify import verify

_NAMES_OF = {
    "artifact.artifact": ("Artifact", "load"),
    "artifact.recovered": ("RecoveredSource", "RecoveryDelta"),
    "calibration.calibrate": ("calibrate",),
    "errors": ("UserError",),
    "model.source": ("Source",),
    "model.structure": ("Layer", "Structure", "Unit", "read_structure"),
    "policy.ledger": ("Ledger",),
    "policy.policy": ("Policy", "read_policy"),
    "policy.store": ("Store",),
    "policy.variant": ("EncodeOptions", "Variant", "build"),
    "resident": ("Resident",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}
_MODULES = {name: name for name in ("codecs", "errors", "inspect", "pack", "unpack", "verify")}
_MODULES["recipes"] = "policy.recipes"

__all__ = [*_MODULE_OF, "inspect", "pack", "unpack", "verify"]


if not TYPE_CHECKING:  # so that mypy knows only the names above

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"compress.{_MODULES[name]}")
        if name in _MODULE_OF:
            return getattr(import_module(f"compress.{_MODULE_OF[name]}"), name)
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
