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
STORE = ".store"  # in the folder of runs: variants are shared by all of them
WORDS = {"train": "training data"}


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
    beside = run.resolve().parent / STORE
    if given:
        return given
    if named and Path(named).absolute() != beside:
        raise _not_obeyed("store", named)
    return str(beside) if beside.is_dir() else None


def confirmed_training(run: Path, named: str, data: str, given: str | None) -> str:
    """What a recovered candidate was trained on: what was given, else what its run names if that is the data of the
    search, a default, or the speech that lies beside the run."""
    if given:
        return given
    kind, _, place = named.partition(":")
    beside = kind == "manifest" and Path(place.split(",")[0]).resolve().is_relative_to(run.resolve().parent / ".speech")
    if named in (data, *DEFAULTS["data"]) or beside:
        return named
    raise _not_obeyed("train", named)


def _not_obeyed(what: str, named: str) -> UserError:
    flag = f"--{what}"
    return UserError(
        f"the run names the {WORDS.get(what, what)} {named[:200]!r}; a run's folder is not obeyed in that: give {flag}"
        f" {shlex.quote(named[:200])} if it is yours, or another {flag}"
    )
