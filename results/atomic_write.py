"""Writing a file so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from compress.errors import UserError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside the target, flushes to the disk, renames over it. A full disk leaves the old file as it was."""
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise full_disk(error, path) from None


def full_disk(error: OSError, path: Path) -> Exception:
    """A full disk as one clear line; anything else as it was."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left for {path}: free some and run the same command with --resume (nothing is lost)"
        )
    return error
