"""Folders that appear whole or not at all: written under a temporary name, renamed when complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.errors import UserError


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, renamed to it at the end. After an error nothing is left behind."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; give another name or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", suffix=".partial", dir=out.parent, ignore_cleanup_errors=True
        ) as partial:
            os.chmod(partial, 0o755)
            yield Path(partial)
            for path in Path(partial).rglob("*"):  # safetensors writes for its owner only
                path.chmod(0o755 if path.is_dir() else 0o644)
            os.rename(partial, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; nothing was left behind") from None
