"""Compressed models: every published codec, one better than all of them, and artifacts of the promised size.

A library worth using alone: `Source` reads a checkpoint, `build` encodes units into a `Store`, a `Ledger`
knows what any `Policy` weighs, `Resident` applies one in memory, `pack` writes it, `load` brings it back.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.anatomy import Anatomy, Layer, Unit, read_anatomy
    from compress.artifact import Artifact, load
    from compress.calibration import calibrate
    from compress.errors import Refusal
    from compress.ledger import Ledger
    from compress.packing import pack
    from compress.policy import Policy, read_policy
    from compress.recovered import Recovered, Recovery
    from compress.reports import inspect, verify
    from compress.resident import Resident
    from compress.source import Source
    from compress.store import Store
    from compress.unpacking import unpack
    from compress.variant import Variant, Wanted, build

_WHERE = {
    "Anatomy": "anatomy",
    "Artifact": "artifact",
    "Layer": "anatomy",
    "Ledger": "ledger",
    "Policy": "policy",
    "Recovered": "recovered",
    "Recovery": "recovered",
    "Refusal": "errors",
    "Resident": "resident",
    "Source": "source",
    "Store": "store",
    "Unit": "anatomy",
    "Variant": "variant",
    "Wanted": "variant",
    "build": "variant",
    "calibrate": "calibration",
    "inspect": "reports",
    "load": "artifact",
    "pack": "packing",
    "read_anatomy": "anatomy",
    "read_policy": "policy",
    "unpack": "unpacking",
    "verify": "reports",
}
_MODULES = ("codecs", "errors", "recipes")

__all__ = [
    "Anatomy",
    "Artifact",
    "Layer",
    "Ledger",
    "Policy",
    "Recovered",
    "Recovery",
    "Refusal",
    "Resident",
    "Source",
    "Store",
    "Unit",
    "Variant",
    "Wanted",
    "build",
    "calibrate",
    "inspect",
    "load",
    "pack",
    "read_anatomy",
    "read_policy",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"compress.{name}")
    if name in _WHERE:
        return getattr(import_module(f"compress.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'compress' has no attribute {name!r}")
