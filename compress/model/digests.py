"""Digests of large weight files, remembered between runs: hashing 16 GB takes half a minute, once.

A file is known again by its path, size and time of last change. Small files are simply hashed each time.
The memory lies in the user's cache folder (`XDG_CACHE_HOME`); losing it costs time, never correctness.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

_WORTH_IT = 64 << 20  # bytes


def cached_digests(file: Path, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Digests by tensor of one weight file: from memory where it holds them, computed otherwise."""
    state = file.stat()
    if state.st_size < _WORTH_IT:
        return compute()
    identity = f"{file.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress-digests"
    try:
        known = json.loads((root / f"{name}.json").read_text(encoding="utf-8"))
        if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()):
            return known
    except (OSError, ValueError):
        pass
    known = compute()
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        partial = root / f"{name}.{os.getpid()}.partial"
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(root / f"{name}.json")
    return known
