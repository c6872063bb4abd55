"""How fast this machine encodes: measured in a few seconds, and kept. For plans; nothing else depends on it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from compress.codecs.grid import feedback
from compress.codecs.grid.grid import has_trellis, rate_of
from compress.codecs.registry import codec
from compress.codecs.statistics import Statistics
from compress.kernels import dispatch
from compress.user_cache import cached, keep

_VERSION = 1
OUTPUTS, INPUTS = 2560, 2048  # enough for the step to be found on a share of the outputs
ON_GPU = 2  # times as many of both on a GPU


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
    identity = f"{_VERSION} {platform.node()} {name} {dispatch.describe(torch.device(device))} {torch.__version__}"
    known = cached("speed", identity)
    try:
        return EncodingSpeed(**known)  # type: ignore[arg-type]
    except TypeError:
        pass
    speed = _measure(torch.device(device))
    keep("speed", identity, asdict(speed))
    return speed


def _measure(device: torch.device) -> EncodingSpeed:
    scale = 1 if device.type == "cpu" else ON_GPU
    outputs, inputs = OUTPUTS * scale, INPUTS * scale
    before = torch.get_num_threads()
    torch.set_num_threads(before if device.type != "cpu" else 1)
    try:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(inputs // 4, inputs, generator=generator).to(device)
        weights = torch.randn(outputs, inputs, generator=generator).to(device)
        hessian = x.T @ x + torch.eye(inputs, device=device)
        known = Statistics(hessian, torch.rand(outputs, generator=generator).to(device))
        factor = _seconds(lambda: (feedback.factor(hessian), feedback.stepwise(hessian)), device) / 2

        def pace(level: str) -> float:
            return weights.numel() / _seconds(lambda: codec(level).encode([weights], [known], ["weight"]), device)

        pace("grid@2:trellis")  # the first time compiles, and warms caches
        return EncodingSpeed(pace("grid@2:trellis"), pace("grid@2"), pace("int8"), factor / float(inputs) ** 3)
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
