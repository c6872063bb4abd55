"""The codec's speed: plain torch code against compiled kernels, one process, CPU seconds, weights of one matrix.

    python -m benchmarks.encoder                       # 1024² at all rates, 4096² at 2 bits (six minutes)
    python -m benchmarks.encoder --sizes 4096x4096 11008x4096 --rates 1.5 2 3 4 --threads 1 2

Weights are normal with rows of different sizes, inputs correlated and of different sizes. The factor of the Hessian is
timed apart, once for a matrix; `damage` is Σ ΔW·H·ΔWᵀ / Σ W·H·Wᵀ.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compress.codecs import codec
from compress.codecs.grid.feedback import factor, stepwise
from compress.codecs.statistics import Statistics
from compress.kernels.dispatch import NUMBA, TORCH, VARIABLE, kernels


def problem(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """A matrix, and XᵀX of inputs to it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(inputs + 200, inputs, generator=generator)
    x *= torch.exp(0.7 * torch.randn(inputs, generator=generator))
    x = x + 0.3 * x @ torch.randn(inputs, inputs, generator=generator) / inputs**0.5
    rows = torch.exp(0.3 * torch.randn(outputs, 1, generator=generator))
    return (0.02 * rows * torch.randn(outputs, inputs, generator=generator)).to(torch.bfloat16), x.T @ x


def timed(work: Callable[[], Any], times: int, clock: Callable[[], float]) -> tuple[Any, float]:
    """What it returns, and the median of its seconds."""
    seconds = []
    for _ in range(times):
        began = clock()
        result = work()
        seconds.append(clock() - began)
    return result, sorted(seconds)[len(seconds) // 2]


def damage(error: Tensor, weight: Tensor, hessian: Tensor | None) -> float:
    """Of every eighth output."""
    some, whole = error[::8].float(), weight[::8].float()
    if hessian is None:
        return float(some.square().sum() / whole.square().sum())
    return float(((some @ hessian) * some).sum() / ((whole @ hessian) * whole).sum())


def measure(level: str, weight: Tensor, hessian: Tensor | None, name: str, threads: int) -> list[float]:
    """Encoding and decoding in million weights a second, bits a weight, damage."""
    os.environ[VARIABLE] = name
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    known = [None if hessian is None else Statistics(hessian)]
    payload, encoding = timed(lambda: codec(level).encode([weight], known, ["weight"]), 1, clock)
    shapes = [tuple(weight.shape)]
    decoded, decoding = timed(lambda: codec(level).decode(payload, shapes, torch.float32)[0], 3, clock)
    count = weight.numel()
    error = damage(decoded - weight.float(), weight, hessian)
    return [count / encoding / 1e6, count / decoding / 1e6, 8 * len(payload) / count, error]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1024x1024", "4096x4096"], help="outputs x inputs")
    parser.add_argument("--rates", nargs="+", type=float, default=[2.0])
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="from 2 on, seconds are of the clock")
    options = parser.parse_args()
    assert kernels() == NUMBA, "there are no compiled kernels on this machine"
    head = (
        "| matrix | level | calibrated | threads | encode torch | encode numba | × | decode torch | decode numba | × |"
    )
    print(f"{head} bits | damage torch | damage numba |\n|{'---|' * 13}", flush=True)
    for size in options.sizes:
        outputs, inputs = (int(number) for number in size.split("x"))
        weight, hessian = problem(outputs, inputs)
        torch.set_num_threads(1)
        for make in (factor, stepwise):
            _, seconds = timed(partial(make, hessian), 1, time.process_time)
            print(f"{size}: {make.__name__} of the Hessian {seconds:.1f} s", flush=True)
        for rate in options.rates:
            for level in (f"grid@{rate:g}", f"grid@{rate:g}:trellis"):
                for known in (hessian, None):
                    for threads in options.threads:
                        plain = measure(level, weight, known, TORCH, threads)
                        fast = measure(level, weight, known, NUMBA, threads)
                        row = [size, level, "no" if known is None else "yes", str(threads)]
                        for index in (0, 1):
                            row += [f"{plain[index]:.2f}", f"{fast[index]:.2f}", f"{fast[index] / plain[index]:.1f}"]
                        row += [f"{fast[2]:.3f}", f"{plain[3]:.5f}", f"{fast[3]:.5f}"]
                        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
