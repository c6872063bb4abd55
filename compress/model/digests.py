"""A cache of the tensor digests of large weight files: hashing 16 GB takes half a minute.

A file is identified by its path, size and time of last change. Small files are hashed each time. The cache lies in the
user's cache folder (`XDG_CACHE_HOME`); losing it costs time, never correctness.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

_CACHED_FROM = 64 << 20  # bytes


def cached_digests(file: Path, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Digests by tensor of one weight file, from the cache if it has them, else computed."""
    state = file.stat()
    if state.st_size < _CACHED_FROM:
        return compute()
    identity = f"{file.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress-digests"
    try:
        digests = json.loads((root / f"{name}.json").read_text(encoding="utf-8"))
        if isinstance(digests, dict) and all(isinstance(value, str) for value in digests.values()):
            return digests
    except (OSError, ValueError):
        pass
    digests = compute()
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        partial = root / f"{name}.{os.getpid()}.partial"
        partial.write_text(json.dumps(digests), encoding="utf-8")
        partial.replace(root / f"{name}.json")
    return digests
