"""The kernels of warp.cu on a GPU: compiled by NVRTC through CuPy, launched on torch's tensors in torch's stream.

CuPy and not Triton, whose programs cannot exchange values within a warp; and not torch's own compiler of kernels, which
asks for a CUDA toolkit on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.errors import first_line

SOURCE = Path(__file__).with_name("warp.cu")
BLOCK = 128  # columns between two decisions for one survivor
_WARPS = 4  # in a block of threads
_ERRORS = BLOCK * 32 * 4  # bytes of shared memory a warp
_TRELLIS = _ERRORS + BLOCK * 32 * 2 + BLOCK * 4

# Name of the kernel, number of warps, bytes of shared memory a warp, arguments (tensors stand for their addresses).
Launch = Callable[[str, int, int, Sequence[Any]], None]


class GpuKernels:
    """What dispatch.py calls, for tensors on one GPU. Matrices are inputs × outputs and contiguous."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def trellis_block(
        self,
        columns: Tensor,
        lower: Tensor,
        steps: Tensor,
        weights: Tensor,
        shifts: Tensor,
        fed: bool,
        cost: Tensor,
        integers: Tensor,
        errors: Tensor,
    ) -> None:
        """At most BLOCK columns: the integers and errors of the best path, and what each state costs afterwards."""
        width, outputs = columns.shape
        sizes = int(fed), width, outputs
        arguments = columns, lower, steps, weights, shifts, *sizes, cost, integers, errors
        self._launch("trellis_block", -(-outputs // 4), _TRELLIS, arguments)

    def plain_block(
        self,
        columns: Tensor,
        lower: Tensor,
        steps: Tensor,
        weights: Tensor,
        shifts: Tensor,
        integers: Tensor,
        errors: Tensor,
    ) -> None:
        """The same by plain rounding."""
        width, outputs = columns.shape
        arguments = columns, lower, steps, weights, shifts, width, outputs, integers, errors
        self._launch("plain_block", -(-outputs // 32), _ERRORS, arguments)

    def decode_columns(self, out: Tensor, integers: Tensor, plain: int, *arrays: Tensor) -> None:
        """Weights, outputs × inputs, into `out`, which is float32 or bfloat16.

        The arrays are order, rows, column steps, row steps, scales and shifts, as the kernel takes them.
        """
        inputs, outputs = integers.shape
        arguments = integers, *arrays, plain, inputs, outputs, int(out.dtype == torch.bfloat16), out
        self._launch("decode_columns", -(-outputs // 32), 0, arguments)


@cache
def gpu_kernels(index: int) -> tuple[GpuKernels | None, str]:
    """The kernels of a GPU; or None, and why there are none. The imports are late: few machines have CuPy."""
    try:
        import cupy
        import numpy as np

        with cupy.cuda.Device(index):
            module = cupy.RawModule(code=SOURCE.read_text(), options=("--std=c++14", "--fmad=false"))
            kernels = {name: module.get_function(name) for name in ("trellis_block", "plain_block", "decode_columns")}
            for name, shared in (("trellis_block", _TRELLIS), ("plain_block", _ERRORS)):
                kernels[name].max_dynamic_shared_size_bytes = _WARPS * shared
    except Exception as error:
        return None, f"no kernels for the GPU: {first_line(error)}"

    def launch(name: str, warps: int, shared: int, arguments: Sequence[Any]) -> None:
        values = [np.uint64(a.data_ptr()) if isinstance(a, Tensor) else np.int32(a) for a in arguments]
        stream = torch.cuda.current_stream(index).cuda_stream
        with cupy.cuda.Device(index), cupy.cuda.ExternalStream(stream, index):
            kernels[name]((-(-warps // _WARPS),), (32 * _WARPS,), tuple(values), shared_mem=_WARPS * shared)

    return GpuKernels(launch), ""
