"""`ffn:SHARE+LEVEL`: structured pruning of a gated MLP, as the seed published it, then any other level.

A neuron's score is the mean magnitude of its gate row, its up row and its down column; the lowest go
(`ffn:0.8` of 11008 keeps 8807). Nothing is written about which: the matrices are simply smaller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from compress.codecs.base import Codec, Shape
from compress.codecs.registry import codec, register
from compress.codecs.statistics import Statistics
from compress.errors import UserError

_NOT_GATED = "only a gated MLP of three matrices (gate, up, down) has neurons to prune"


class PrunedMLP(Codec):
    def __init__(self, share: float, inner: Codec) -> None:
        self.share = share
        self.inner = inner
        self.level = f"ffn:{share:g}+{inner.level}"
        self.uses_hessian = inner.uses_hessian

    def within(self, overhead: int) -> Codec:
        return PrunedMLP(self.share, self.inner.within(overhead))

    def unit_unsupported(self, shapes: Sequence[Shape], roles: Sequence[str]) -> str | None:
        if _down(shapes) is None:
            return _NOT_GATED
        return self.inner.unit_unsupported(self._smaller(shapes), roles)

    def encode(self, weights: Sequence[Tensor], known: Sequence[Statistics | None], roles: Sequence[str]) -> bytes:
        shapes = [tuple(weight.shape) for weight in weights]
        down = _must_be_gated(shapes)
        stay = self._best(weights, down)
        kept = [w[:, stay] if i == down else w[stay] for i, w in enumerate(weights)]
        inputs = [None if k is None else _of_neurons(k, stay, i == down) for i, k in enumerate(known)]
        return self.inner.encode([w.contiguous() for w in kept], inputs, roles)

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:
        _must_be_gated(shapes)
        return self.inner.decode(payload, self._smaller(shapes), dtype)

    def _best(self, weights: Sequence[Tensor], down: int) -> Tensor:
        """The neurons that stay, in their order."""
        score = sum(w.float().abs().mean(dim=0 if i == down else 1) for i, w in enumerate(weights))
        assert isinstance(score, Tensor)
        count = self._count(score.numel())
        return torch.argsort(score, descending=True, stable=True)[:count].sort().values

    def _count(self, neurons: int) -> int:
        return max(1, neurons - int(round(1 - self.share, 6) * neurons))

    def _smaller(self, shapes: Sequence[Shape]) -> list[Shape]:
        down = _must_be_gated(shapes)
        return [(s[0], self._count(s[1])) if i == down else (self._count(s[0]), s[1]) for i, s in enumerate(shapes)]


def _of_neurons(known: Statistics, stay: Tensor, down: bool) -> Statistics:
    """What is known of the smaller matrix: fewer inputs for the one that leads out, fewer outputs for the others."""
    if down:
        return Statistics(known.hessian[stay][:, stay], known.importance)
    return Statistics(known.hessian, None if known.importance is None else known.importance[stay])


def _down(shapes: Sequence[Shape]) -> int | None:
    """Which of three matrices leads out of the neurons; None when they are no gated MLP."""
    if len(shapes) != 3 or any(len(shape) != 2 for shape in shapes):
        return None
    return next((i for i in (2, 1, 0) if all(shapes[j] == shapes[i][::-1] for j in range(3) if j != i)), None)


def _must_be_gated(shapes: Sequence[Shape]) -> int:
    down = _down(shapes)
    if down is None:
        raise UserError(_NOT_GATED)
    return down


def _make(settings: str) -> PrunedMLP:
    match = re.fullmatch(r":(0\.\d{1,4})\+(.+)", settings)
    if match is None or not 0 < float(match[1]) < 1 or match[2].startswith("ffn"):
        raise UserError(f"unknown level 'ffn{settings}'; write ffn:SHARE+LEVEL such as ffn:0.8+digits:2")
    return PrunedMLP(float(match[1]), codec(match[2]))


register("ffn", _make)
