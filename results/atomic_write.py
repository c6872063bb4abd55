"""Writing a file so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.errors import UserError


def write_atomically(path: Path, content: bytes | str) -> None:
    with replacing(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside the target to write to, flushed to the disk and renamed over it at the end.

    After any error, such as a full disk, the target is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise _of_target(full_disk(error, path), beside, path) from None
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Has the disk keep the names in a folder, so that a crash of the machine does not undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):  # anything else: a file system that cannot
            raise
    finally:
        os.close(descriptor)


def _of_target(error: Exception, beside: Path, path: Path) -> Exception:
    """The error as one of the target: nobody asked for the file beside it."""
    if isinstance(error, OSError) and error.filename is not None and str(error.filename) == str(beside):
        return type(error)(error.errno, error.strerror, str(path))
    return error


def full_disk(error: OSError, path: Path) -> Exception:
    """A full disk as one clear line; anything else as it was."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left for {path}: free some and run the same command with --resume (nothing is lost)"
        )
    return error
