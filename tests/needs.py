"""What some tests need of the machine. Where it is missing they are skipped, and in CI they fail."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
import transformers

TRANSFORMERS_5 = int(transformers.__version__.split(".")[0]) >= 5
# COMET's pins want transformers 4; where the model side has 5, COMET runs in an environment of its own.
comet_in_this_process = pytest.mark.skipif(TRANSFORMERS_5, reason="unbabel-comet needs transformers 4")


def missing(what: str) -> NoReturn:
    """Ends the test: a skip on a developer's machine, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and in CI nothing is skipped")
    pytest.skip(f"NOT TESTED: {what}")


def privileged(*command: str) -> bool:
    """Runs a command as root, if that can be had."""
    for prefix in ([], ["sudo", "-n"]):
        try:
            if subprocess.run([*prefix, *command], capture_output=True, check=False).returncode == 0:
                return True
        except OSError:
            continue
    return False


def mount_small_disk(folder: Path, size: str) -> None:
    """A file system of so many bytes ("2m"); unmount it with `unmount`."""
    options = f"size={size},mode=777"
    if not privileged("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        missing("no right to mount a small file system")


def unmount(folder: Path) -> None:
    assert privileged("umount", "-l", str(folder))
