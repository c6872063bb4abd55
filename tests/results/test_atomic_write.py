"""Writing: the old file or the new one; a full disk is one clear line and loses nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.errors import UserError
from results.atomic_write import write_atomically
from tests.needs import mount_small_disk, unmount


def test_text_and_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "grün")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "grün"
    write_atomically(tmp_path / "a", b"\x00")
    assert (tmp_path / "a").read_bytes() == b"\x00"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written_is_named_and_not_the_file_beside_it(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "a", tmp_path):
        with pytest.raises(OSError, match=r"No such file|Is a directory") as refused:
            write_atomically(path, "text")
        assert refused.value.filename == str(path)
        assert refused.value.filename2 is None
        assert ".part" not in str(refused.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, where the machine lets us mount one."""
    mount_small_disk(tmp_path, "64k")
    yield tmp_path
    unmount(tmp_path)


def test_a_really_full_disk(small_disk: Path) -> None:
    write_atomically(small_disk / "a", b"x" * 30_000)
    with pytest.raises(UserError, match="no space left"):
        write_atomically(small_disk / "a", b"y" * 60_000)
    assert (small_disk / "a").read_bytes() == b"x" * 30_000
    assert [path.name for path in small_disk.iterdir()] == ["a"]
