"""Small results that are worth keeping between runs, in the user's cache folder (`XDG_CACHE_HOME`).

Losing them costs time, never correctness: what cannot be read or written is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any


def cached(kind: str, identity: str) -> Any | None:
    """What was kept of a kind under an identity; None if there is nothing."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(_path(kind, identity).read_text(encoding="utf-8"))
    return None


def keep(kind: str, identity: str, value: Any) -> None:
    """Keep what JSON can say."""
    path = _path(kind, identity)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value), encoding="utf-8")
        partial.replace(path)


def _path(kind: str, identity: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / f"compress-{kind}" / f"{hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()}.json"
