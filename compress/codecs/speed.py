"""How fast this machine encodes: measured in some seconds, and kept. For plans; nothing else depends on it."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch

from compress.codecs.grid import feedback
from compress.codecs.grid.grid import has_trellis, rate_of
from compress.codecs.registry import codec
from compress.codecs.statistics import Statistics
from compress.kernels import dispatch
from compress.user_cache import cached, keep

OUTPUTS = INPUTS = 4096  # as in a large model: what is fed back costs more the more inputs there are


@dataclass(frozen=True)
class EncodingSpeed:
    """Weights a second of one thread, or of a GPU, by kind of level; and a Hessian's seconds an element and input."""

    trellis: float
    grid: float
    other: float
    factor: float

    def seconds(self, level: str, weights: int) -> float:
        """To encode that many weights."""
        if rate_of(level) is None:
            return weights / self.other
        return weights / (self.trellis if has_trellis(level) else self.grid)

    def factor_seconds(self, inputs: int) -> float:
        """To make the factor of a Hessian ready, once for all levels."""
        return self.factor * float(inputs) ** 3


def measured(device: str = "cpu") -> EncodingSpeed:
    """The speed of this machine; measured if it is not known yet."""
    name = platform.processor() or platform.machine()
    if device == "cuda":
        name = torch.cuda.get_device_name()
    identity = (
        f"{OUTPUTS} {INPUTS} {platform.node()} {name} {dispatch.describe(torch.device(device))} {torch.__version__}"
    )
    known = cached("speed", identity)
    try:
        return EncodingSpeed(**known)  # type: ignore[arg-type]
    except TypeError:
        pass
    print(f"measuring how fast this machine encodes, on {device} (once)", file=sys.stderr, flush=True)
    speed = _measure(torch.device(device))
    keep("speed", identity, asdict(speed))
    return speed


def _measure(device: torch.device) -> EncodingSpeed:
    before = torch.get_num_threads()
    torch.set_num_threads(before if device.type != "cpu" else 1)
    try:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(INPUTS // 4, INPUTS, generator=generator).to(device)
        weights = torch.randn(OUTPUTS, INPUTS, generator=generator).to(device)
        known = Statistics(x.T @ x, torch.rand(OUTPUTS, generator=generator).to(device))

        def pace(level: str, rows: int = OUTPUTS) -> float:
            some = Statistics(known.hessian, known.importance[:rows]) if known.importance is not None else known
            encode = partial(codec(level).encode, [weights[:rows]], [some], ["weight"])
            return rows * INPUTS / _seconds(encode, device)

        factor = _seconds(partial(feedback.stepwise, known.hessian), device)
        pace("grid@2:trellis", 8)  # the first time compiles
        trellis = pace("grid@2:trellis")
        feedback.factor(known.hessian)
        return EncodingSpeed(trellis, pace("grid@2"), pace("int8"), factor / float(INPUTS) ** 3)
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
