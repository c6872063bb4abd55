"""bitsandbytes is imported without fetching a kernel from the hub, and without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_no_kernel_of_the_hub_is_asked_for_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(
        "from pathlib import Path\n"
        "def get_kernel(*a, **b):\n    Path(__file__).with_name('fetched').touch(); raise OSError('no')\n",
        encoding="utf-8",
    )
    # As on a processor for which bitsandbytes looks for a kernel.
    program = (
        "import torch, sys\n"
        "from compress.codecs import encode\n"
        "encode(torch.randn(64, 64), 'nf4')\n"
        "import kernels\n"
        "assert kernels.get_kernel, 'others find it as before'\n"
        "import bitsandbytes\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert not (tmp_path / "fetched").exists()
