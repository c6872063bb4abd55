"""The hot loops as the codec calls them, done by the fastest kernels that this machine has.

- `numba`: compiled for the processor (cpu.py), in as many threads as torch was given;
- `torch`: the plain code of reference.py, for everything else, weights on a GPU among it.

The environment variable COMPRESS_KERNELS forces one of these. Both give the same integers, up to the last bits of sums
over many columns.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.errors import UserError, first_line
from compress.kernels import reference

VARIABLE = "COMPRESS_KERNELS"
NUMBA, TORCH = "numba", "torch"
BLOCK = 128  # columns between two updates of all the rest
_SLICE = 128  # outputs that a thread takes at least, and in multiples of
_WORST = 1.5  # steps: what rounding gets wrong at the most, centroid included

Item = TypeVar("Item")
Result = TypeVar("Result")
PlainShifts = tuple[float, float]  # how far the values of |q| = 1 and of |q| > 1 lie towards zero, in steps


def forced() -> str:
    """The kernels that the environment asks for, or nothing."""
    name = os.environ.get(VARIABLE, "")
    if name not in ("", NUMBA, TORCH):
        raise UserError(f"{VARIABLE} is {name!r}; known are {NUMBA} and {TORCH}")
    return name


def kernels() -> str:
    """Which kernels are in use."""
    return forced() or (NUMBA if numba_kernels()[0] is not None else TORCH)


def describe() -> str:
    """Which kernels are in use, and why, in a line for people."""
    name = kernels()
    reason = f"{VARIABLE} asks for it" if forced() else numba_kernels()[1]
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
    if dtype == np.int16 and columns.device.type == "cpu" and kernels() == NUMBA:
        integers = _by_numba(columns, upper, steps, plain, plain_shifts, trellis_shifts)
        if integers is not None:
            return integers
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


def _by_numba(
    columns: Tensor,
    upper: Tensor | None,
    steps: Tensor,
    plain: int | None,
    plain_shifts: PlainShifts,
    trellis_shifts: reference.Shifts | None,
) -> NDArray[np.int16] | None:
    """None where integers might not fit into 16 bits, which the kernels do not notice."""
    cpu, _ = numba_kernels()
    columns = columns.contiguous()
    inputs, outputs = columns.shape
    stop = inputs if plain is None else plain
    values, step = columns.numpy(), steps.numpy()
    weights = step if upper is None else step / upper.diagonal().numpy()
    integers = np.empty((inputs, outputs), np.int16)
    cost = np.full((8, outputs if stop < inputs else 0), cpu.FAR, np.float32)
    cost[0] = 0
    shifts = np.array(trellis_shifts or (0, 0, 0), np.float32), np.array(plain_shifts, np.float32)
    errors = np.empty((0, 0) if upper is None else (BLOCK, outputs), np.float32)
    edges = [*range(0, stop, BLOCK), *range(stop, inputs, BLOCK), inputs]
    for begin, end in pairwise(edges):
        width = end - begin
        lower = np.zeros((width, width), np.float32)
        if upper is not None:
            lower = np.ascontiguousarray(upper[begin:end, begin:end].T.numpy())
        mine = slice(begin, end)
        largest = np.abs(values[mine]).max(1) + (np.tril(np.abs(lower), -1) * (_WORST * weights[mine])).sum(1)
        if not float((largest / step[mine]).max()) < np.iinfo(np.int16).max - 2:
            return None
        here = values[mine], lower, step[mine], weights[mine]
        if begin >= stop:
            fed = upper is not None
            in_threads(outputs, partial(cpu.trellis_block, *here, shifts[0], fed, cost, integers[mine], errors))
        elif upper is None:
            integers[mine] = torch.round(columns[mine]).to(torch.int16).numpy()
        else:
            in_threads(outputs, partial(cpu.plain_block, *here, shifts[1], integers[mine], errors))
        if upper is not None and end < inputs:
            columns[end:].addmm_(upper[begin:end, end:].T, torch.from_numpy(errors[:width]), alpha=-1)
    return integers


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
) -> Tensor:
    """Weights, outputs × inputs, of integers whose inputs and outputs are sorted.

    `order` and `rows` say where each sorted input and output belongs; steps and scales are sorted too.
    """
    inputs, outputs = integers.shape
    stop = inputs if plain is None else plain
    if integers.dtype == np.int16 and kernels() == NUMBA:
        cpu, _ = numba_kernels()
        out = np.empty((outputs, inputs), np.float32)
        shifts = np.array([*plain_shifts, *(trellis_shifts or (0, 0, 0))], np.float32)
        steps = column_steps, row_steps, scales
        work = partial(cpu.decode_columns, out, integers, stop, order, rows, *steps, shifts)
        in_threads(outputs, work)
        return torch.from_numpy(out)
    values = reference.column_values(integers, np.arange(inputs), stop, plain_shifts, trellis_shifts or (0.0, 0.0, 0.0))
    values *= column_steps[:, None]
    values *= row_steps[None, :]
    values *= scales[None, :]
    out = np.empty((outputs, inputs), np.float32)
    out[np.ix_(rows, order)] = values.T
    return torch.from_numpy(out)


def decode_flat(integers: NDArray[np.signedinteger[Any]], shifts: PlainShifts, scale: float) -> Tensor:
    """Weights of integers that all have one step, as one row."""
    if integers.dtype == np.int16 and kernels() == NUMBA:
        cpu, _ = numba_kernels()
        out = np.empty(integers.size, np.float32)
        first, others, factor = np.float32(shifts[0]), np.float32(shifts[1]), np.float32(scale)
        in_threads(integers.size, partial(cpu.decode_flat, out, integers, first, others, factor), 1 << 16)
        return torch.from_numpy(out)
    values = reference.plain_values(integers, *shifts)
    values *= np.float32(scale)
    return torch.from_numpy(values)
