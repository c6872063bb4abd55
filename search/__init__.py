"""Decides which policy to try next, and runs the whole: `python -m search.run`, or `search.search(Config(...))`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import Run, search
    from search.config import Config

__all__ = ["Config", "Run", "search"]
_WHERE = {"Config": "search.config", "Run": "search.api", "search": "search.api"}


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: the search brings Ray, torch and Optuna with it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    return getattr(import_module(_WHERE[name]), name)
