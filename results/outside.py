"""What a run's folder names outside of itself: its model, data, COMET and store.

The folder may come from a stranger. What it names is shown, and used only if it is a default of this program or was
given again on the command line; no path is read and no address is asked because a folder says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import UserError

DEFAULTS = {
    "model": ("embedded",),
    "data": ("embedded",),
    "comet": ("embedded", "Unbabel/wmt22-comet-da"),
}


def confirmed(config: Mapping[str, Any], what: str, given: str | None) -> str:
    """The model, data or COMET to use: what was given, else what the run names if that is a default."""
    named = str(config.get(what, ""))
    if given:
        return given
    if named in DEFAULTS[what]:
        return named
    raise _not_obeyed(what, named)


def confirmed_store(run: Path, config: Mapping[str, Any], given: str | None) -> str | None:
    """The store that was given, else the one beside the run; None if there is none."""
    named = str(config.get("store") or "")
    beside = run.resolve().parent / ".store"
    if given:
        return given
    if named and Path(named).absolute() != beside:
        raise _not_obeyed("store", named)
    return str(beside) if beside.is_dir() else None


def _not_obeyed(what: str, named: str) -> UserError:
    flag = f"--{what}"
    return UserError(
        f"the run names the {what} {named[:200]!r}; a run's folder is not obeyed in that: give {flag}"
        f" {shlex.quote(named[:200])} if it is yours, or another {flag}"
    )
