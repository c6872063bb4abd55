"""The kernels for a GPU on a processor: warp.cu compiled as C++, one warp after another."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from compress.kernels.gpu import SOURCE, GpuKernels

COMPILER = shutil.which("g++") or shutil.which("c++")


def emulated(folder: Path, change: tuple[str, str] = ("", "")) -> GpuKernels:
    """Kernels for tensors in main memory, with something changed in their source."""
    source = SOURCE.read_text()
    assert change[0] in source
    program, library = folder / "warp.cpp", folder / "warp.so"
    program.write_text(Path(__file__).with_name("warp.hpp").read_text() + source.replace(*change))
    assert COMPILER is not None
    subprocess.run([COMPILER, "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-o", library, program], check=True)
    loaded = ctypes.CDLL(str(library))

    def launch(name: str, warps: int, shared: int, arguments: Sequence[Any]) -> None:  # noqa: ARG001
        for argument in arguments:
            assert not isinstance(argument, Tensor) or argument.is_contiguous()
        values = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_int(a) for a in arguments]
        for warp in range(warps + 3):  # as on a GPU, where the last block of threads may hold warps without outputs
            loaded.set_warp(warp)
            getattr(loaded, name)(*values)

    return GpuKernels(launch)
