"""Folders of dead runs are removed; nothing else is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import leftovers


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_only_marked_folders_of_dead_processes_go(temporary: Path) -> None:
    dead, sessions = dead_process(), temporary / "ray"
    ours = [temporary / f"compression-search-{dead}-abc", sessions / f"session_2026-01-01_1_{dead}"]
    others = [
        temporary / f"compression-search-{os.getpid()}-abc",
        temporary / "compression-search-notes",
        temporary / f"other-{dead}-abc",
        sessions / f"session_2026-01-01_2_{dead}",  # without our mark
        sessions / f"session_2026-01-01_3_{os.getpid()}",
    ]
    for folder in (*ours, *others):
        (folder / "inside").mkdir(parents=True)
    for folder in (ours[1], others[4]):
        leftovers.keep_private(folder)
    (temporary / f"compression-search-{dead}-link").symlink_to(others[1])
    assert leftovers.remove(sessions) == 2
    assert not any(folder.exists() for folder in ours)
    assert all((folder / "inside").exists() for folder in others)
    assert leftovers.remove(sessions) == 0


def test_a_scratch_folder_is_ours_while_the_process_lives(temporary: Path) -> None:
    folder = leftovers.make_scratch()
    assert leftovers.SCRATCH.fullmatch(folder.name)
    assert leftovers.remove(temporary / "ray") == 0
    assert folder.exists()


def test_a_session_is_closed_to_other_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    leftovers.keep_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
