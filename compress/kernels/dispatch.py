"""The hot loops as the codec calls them, done by the fastest kernels that this machine has.

- `cuda`: for weights on a GPU, compiled for it (warp.cu, gpu.py);
- `numba`: compiled for the processor (cpu.py), in as many threads as torch was given; weights on a GPU without kernels
  of its own come to the processor for it;
- `torch`: the plain code of reference.py, on any device.

The environment variable COMPRESS_KERNELS forces one of these. All give the same integers, up to the last bits of sums
over many columns.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.errors import UserError, first_line
from compress.kernels import reference
from compress.kernels.gpu import BLOCK, GpuKernels, gpu_kernels

VARIABLE = "COMPRESS_KERNELS"
NUMBA, TORCH, CUDA = "numba", "torch", "cuda"
CPU = torch.device("cpu")
_FAR = 1e30
AHEAD = 4  # results of `ahead` in memory
_SLICE = 128  # outputs that a thread takes at least, and in multiples of
_WORST = 1.5  # steps: what rounding gets wrong at the most, centroid included

Item = TypeVar("Item")
Result = TypeVar("Result")
PlainShifts = tuple[float, float]  # how far the values of |q| = 1 and of |q| > 1 lie towards zero, in steps


def forced() -> str:
    """The kernels that the environment asks for, or nothing."""
    name = os.environ.get(VARIABLE, "")
    if name not in ("", CUDA, NUMBA, TORCH):
        raise UserError(f"{VARIABLE} is {name!r}; known are {CUDA}, {NUMBA} and {TORCH}")
    return name


def kernels() -> str:
    """Which kernels are in use for what lies in main memory."""
    if forced() == TORCH:
        return TORCH
    return NUMBA if numba_kernels()[0] is not None else TORCH


def describe(device: torch.device = CPU) -> str:
    """Which kernels are in use for what lies on a device, and why, in a line for people."""
    name = reason = ""
    if device.type == "cuda" and forced() in ("", CUDA):
        on_gpu, reason = gpu_kernels(device.index or 0)
        name = CUDA if on_gpu is not None else ""
    name = name or kernels()
    reason = reason or (f"{VARIABLE} asks for it" if forced() == name else numba_kernels()[1])
    return f"{name} ({reason})" if reason else name


@cache
def numba_kernels() -> tuple[Any, str]:
    """The compiled kernels of the processor; or None, and why there are none.

    The first process of a node compiles them into numba's cache while the others wait for it. The import is late: it
    takes a third of a second, and a node may have no numba.
    """
    try:
        from llvmlite import binding

        features = binding.get_host_cpu_features()
        if not (features.get("fma") or features.get("neon")):  # else `fma` is a call of a function for each number
            return None, "this processor has no fused multiply-add"
        with _one_process_at_a_time():
            from compress.kernels import cpu

            cpu.warm()
    except Exception as error:
        return None, f"numba does not work here: {first_line(error)}"
    return cpu, ""


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    try:
        lock = open(  # noqa: SIM115
            Path(tempfile.gettempdir()) / f"compression-kernels-{os.getuid()}.lock", "w"
        )
    except OSError:  # nowhere to write: then each compiles for itself
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def threads() -> int:
    """As many as torch uses in this process: a worker sets it to what it was given."""
    return torch.get_num_threads()


def in_threads(count: int, work: Callable[[int, int], object], least: int = _SLICE) -> None:
    """Do `work(begin, end)` over 0 to `count`, in as many slices as there are threads."""
    slices = max(1, min(threads(), count // least))
    edges = [count * i // slices // least * least for i in range(slices)] + [count]
    map_in_threads(lambda piece: work(*piece), list(pairwise(edges)))


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in order; for work that holds no GIL, as the kernels and PCodec."""
    count = min(threads(), len(items))
    if count <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


class _CpuKernels:
    """The compiled kernels for tensors in main memory, each in as many threads as there are."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def trellis_block(self, *arguments: Any) -> None:
        self._run(self._compiled.trellis_block, arguments, arguments[0].shape[1])

    def plain_block(self, *arguments: Any) -> None:
        self._run(self._compiled.plain_block, arguments, arguments[0].shape[1])

    def decode_columns(self, out: Tensor, integers: Tensor, *arguments: Any) -> None:
        self._run(self._compiled.decode_columns, (out, integers, *arguments), integers.shape[1])

    @staticmethod
    def _run(kernel: Callable[..., None], arguments: Sequence[Any], outputs: int) -> None:
        arrays = [a.numpy() if isinstance(a, Tensor) else a for a in arguments]
        in_threads(outputs, partial(kernel, *arrays))


def _kernels_of(device: torch.device) -> _CpuKernels | GpuKernels | None:
    """What computes on a device; None: the reference."""
    if device.type == "cpu":
        return _CpuKernels(numba_kernels()[0]) if kernels() == NUMBA else None
    return gpu_kernels(device.index or 0)[0] if device.type == "cuda" and forced() in ("", CUDA) else None


def ahead(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results in order, of which up to AHEAD are made in threads before they are asked for."""
    count = min(threads(), AHEAD, len(items))
    if count <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(count) as pool:
        left = iter(items)
        waiting = deque(pool.submit(function, item) for item in islice(left, count))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(left, 1))
            yield result


def quantise(
    columns: Tensor,
    upper: Tensor | None,
    steps: Tensor,
    plain: int | None,
    plain_shifts: PlainShifts,
    trellis_shifts: reference.Shifts | None,
    dtype: type[np.signedinteger[Any]] = np.int16,
) -> NDArray[np.signedinteger[Any]]:
    """Integers for `columns` (inputs × outputs, which is used up), one step an input column.

    With `upper` (U of H⁻¹ = UᵀU) what rounding a column gets wrong is taken up by the columns behind it. The first
    `plain` columns are rounded plainly, the others by the trellis; `None`: all plainly. The shifts are how far
    values lie nearer to zero than their grid points, in steps. OverflowError when an integer does not fit `dtype`.
    """
    if upper is None:
        columns, steps = columns / steps[:, None], torch.ones_like(steps)
    available = _kernels_of(columns.device)
    if available is None and columns.device.type != "cpu" and forced() != TORCH:  # 54 launches a column are worse
        columns, steps, upper = columns.cpu(), steps.cpu(), None if upper is None else upper.cpu()
        available = _kernels_of(columns.device)
    if available is not None and dtype == np.int16:
        q = _by_blocks(available, columns.contiguous(), upper, steps, plain, plain_shifts, trellis_shifts)
        if q is not None:
            return q.cpu().numpy()
    q = _by_reference(columns, upper, steps, plain, plain_shifts, trellis_shifts)
    if not float(q.abs().max()) < 2.0 ** (8 * np.dtype(dtype).itemsize - 1):
        raise OverflowError
    return q.cpu().numpy().astype(dtype)


def _by_reference(
    columns: Tensor,
    upper: Tensor | None,
    steps: Tensor,
    plain: int | None,
    plain_shifts: PlainShifts,
    trellis_shifts: reference.Shifts | None,
) -> Tensor:
    stop = len(columns) if plain is None else plain
    if upper is None:
        return torch.cat([torch.round(columns[:stop]), reference.quantise_trellis_alone(columns[stop:])])
    q = reference.quantise_plain(columns, upper, steps, plain_shifts, stop)
    if stop == len(columns):
        return q
    assert trellis_shifts is not None
    rest = reference.quantise_trellis(columns[stop:], upper[stop:, stop:], steps[stop:], trellis_shifts)
    return torch.cat([q, rest])


def _by_blocks(
    available: _CpuKernels | GpuKernels,
    columns: Tensor,
    upper: Tensor | None,
    steps: Tensor,
    plain: int | None,
    plain_shifts: PlainShifts,
    trellis_shifts: reference.Shifts | None,
) -> Tensor | None:
    """None where integers might not fit into 16 bits, which the kernels do not notice."""
    inputs, outputs = columns.shape
    stop = inputs if plain is None else plain
    # U of a diagonal Hessian, such as an embedding's, passes nothing on.
    fed = upper is not None and int(torch.count_nonzero(upper)) > inputs
    weights = steps if upper is None else steps / upper.diagonal()
    integers = torch.empty_like(columns, dtype=torch.int16)
    cost = columns.new_full((8, outputs if stop < inputs else 0), _FAR)
    cost[0] = 0
    shifts = columns.new_tensor(plain_shifts), columns.new_tensor(trellis_shifts or (0, 0, 0))
    errors = columns.new_empty((BLOCK, outputs) if fed else (0, 0))
    largest = columns.new_zeros(())
    edges = [*range(0, stop, BLOCK), *range(stop, inputs, BLOCK), inputs]
    for begin, end in pairwise(edges):
        mine, width = slice(begin, end), end - begin
        lower = columns.new_zeros(width, width)
        if fed:
            assert upper is not None
            lower = upper[mine, mine].T.contiguous()
        reach = columns[mine].abs().amax(1) + lower.abs().tril(-1) @ (_WORST * weights[mine])
        largest = torch.maximum(largest, (reach / steps[mine]).max())
        here = columns[mine], lower, steps[mine], weights[mine]
        if begin >= stop:
            available.trellis_block(*here, shifts[1], fed, cost, integers[mine], errors)
        elif fed:
            available.plain_block(*here, shifts[0], integers[mine], errors)
        else:
            integers[mine] = torch.round(columns[mine] / steps[mine, None]).to(torch.int16)
        if fed and end < inputs:
            assert upper is not None
            columns[end:].addmm_(upper[mine, end:].T, errors[:width], alpha=-1)
    return integers if float(largest) < torch.iinfo(torch.int16).max - 2 else None


def decode_columns(
    integers: NDArray[np.signedinteger[Any]],
    order: NDArray[np.int64],
    rows: NDArray[np.int64],
    plain: int | None,
    plain_shifts: PlainShifts,
    trellis_shifts: reference.Shifts | None,
    column_steps: NDArray[np.float32],
    row_steps: NDArray[np.float32],
    scales: NDArray[np.float32],
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weights, outputs × inputs, of integers whose inputs and outputs are sorted; float32 rounded to `dtype`.

    `order` and `rows` say where each sorted input and output belongs; steps and scales are sorted too. Integers travel
    to a GPU in 16 bits and become weights there.
    """
    inputs, outputs = integers.shape
    stop = inputs if plain is None else plain
    available = _kernels_of(device)
    if available is None and device.type != "cpu":
        available, target = _kernels_of(CPU), CPU
    else:
        target = device
    if available is not None and integers.dtype == np.int16:
        shifts = np.array([*plain_shifts, *(trellis_shifts or (0, 0, 0))], np.float32)
        places = [torch.from_numpy(a).to(target) for a in (order, rows)]
        steps = [torch.from_numpy(a).to(target) for a in (column_steps, row_steps, scales, shifts)]
        # On a processor writing bfloat16 at once is no faster than rounding afterwards (measured).
        fused = dtype if dtype == torch.bfloat16 and target.type != "cpu" else torch.float32
        out = torch.empty((outputs, inputs), dtype=fused, device=target)
        sorted_integers = torch.from_numpy(np.ascontiguousarray(integers)).to(target)
        available.decode_columns(out, sorted_integers, stop, *places, *steps)
        return out.to(device, dtype)
    values = reference.column_values(integers, np.arange(inputs), stop, plain_shifts, trellis_shifts or (0.0, 0.0, 0.0))
    values *= column_steps[:, None]
    values *= row_steps[None, :]
    values *= scales[None, :]
    weights = np.empty((outputs, inputs), np.float32)
    weights[np.ix_(rows, order)] = values.T
    return torch.from_numpy(weights).to(device, dtype)


def decode_flat(
    integers: NDArray[np.signedinteger[Any]],
    shifts: PlainShifts,
    scale: float,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weights of integers that all have one step, as one row."""
    if device.type != "cpu":  # a few operations on whole arrays: no kernel is needed
        q = torch.from_numpy(integers).to(device).float()
        sign = torch.sign(q)
        return ((q - torch.where(q == sign, shifts[0] * sign, shifts[1] * sign)) * scale).to(dtype)
    if integers.dtype == np.int16 and kernels() == NUMBA:
        cpu, _ = numba_kernels()
        out = np.empty(integers.size, np.float32)
        first, others, factor = np.float32(shifts[0]), np.float32(shifts[1]), np.float32(scale)
        in_threads(integers.size, partial(cpu.decode_flat, out, integers, first, others, factor), 1 << 16)
        return torch.from_numpy(out).to(dtype)
    values = reference.plain_values(integers, *shifts)
    values *= np.float32(scale)
    return torch.from_numpy(values).to(dtype)
