"""What a killed run leaves in the temporary folder, and how the next one removes it.

Only folders of ours: a scratch folder has our name and the process in its own, a session of Ray that we started holds a
mark. The process that made them must be gone.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "compression-search-"
MARK = "compression-search"  # a file in the session's folder
SCRATCH = re.compile(rf"{PREFIX}(\d+)-.*")
SESSION = re.compile(r"session_.*_(\d+)")  # as Ray names it: the last number is the process


def make_scratch() -> Path:
    """A folder that the next run removes if this process is killed."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def keep_private(session: Path) -> None:
    """Marks a session of Ray that we started as ours, and closes its folder to other users: Ray opens it to all."""
    (session / MARK).touch()
    session.chmod(0o700)


def remove(sessions: Path) -> int:
    """Removes what dead processes of this user left; how many folders. `sessions` is where Ray keeps its own."""
    dead = [folder for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _dead(folder, SCRATCH)]
    dead += [mark.parent for mark in sessions.glob(f"session_*/{MARK}") if _dead(mark.parent, SESSION)]
    for folder in dead:
        shutil.rmtree(folder, ignore_errors=True)
    return sum(not folder.exists() for folder in dead)


def _dead(folder: Path, name: re.Pattern[str]) -> bool:
    match = name.fullmatch(folder.name)
    if match is None or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return False
    try:
        os.kill(int(match.group(1)), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
