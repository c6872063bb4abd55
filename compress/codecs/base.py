"""What a codec is: a way to write the matrices of one unit as bytes and back.

A codec sees all matrices of a unit at once, because small ones then share one header and one entropy
model. Shapes are never part of the payload: who decodes knows them (the model's config, or the header of
an `Encoded`), so a payload cannot lie about them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from compress.codecs.length_prefix import join, split
from compress.codecs.statistics import Statistics
from compress.errors import UserError

Shape = tuple[int, ...]
CPU = torch.device("cpu")
AT_ONCE = 1 << 24  # weights an encoder takes in one go, to bound memory; the bytes are the same


class Codec(ABC):
    """One level: a codec with its settings. `level` is its canonical name and round-trips."""

    level: str
    uses_hessian = False  # whether calibration changes what it writes

    def misfit(self, shape: Shape) -> str | None:
        """Why a matrix of this shape cannot be written at this level; None when it can."""
        if prod(shape) == 0:
            return "the tensor is empty"
        if len(shape) < 2:
            return f"the tensor has {len(shape)} dimension(s), a level is for matrices"
        return None

    def unit_unsupported(self, shapes: Sequence[Shape], roles: Sequence[str]) -> str | None:  # noqa: ARG002
        """As `misfit`, for a whole unit."""
        return next(filter(None, map(self.misfit, shapes)), None)

    def refuse_unsupported(self, shapes: Sequence[Shape], roles: Sequence[str], what: str) -> None:
        reason = self.unit_unsupported(shapes, roles)
        if reason:
            raise UserError(f"level {self.level} does not fit {what}: {reason}")

    @abstractmethod
    def encode(self, weights: Sequence[Tensor], known: Sequence[Statistics | None], roles: Sequence[str]) -> bytes:
        """The matrices of one unit as bytes. `known` is what calibration knows, `roles` are names inside the unit."""

    @abstractmethod
    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:
        """The matrices again. `dtype` is what they were before, for codecs whose values depend on it."""

    def read(self, payload: bytes, shapes: Sequence[Shape]) -> Any:  # noqa: ARG002
        """A payload as `weights` takes it: what decoding can do before it has a device, and worth keeping."""
        return payload

    def weights(
        self,
        read: Any,
        shapes: Sequence[Shape],
        dtype: torch.dtype,
        device: torch.device = CPU,
        wanted: torch.dtype | None = None,
    ) -> list[Tensor]:
        """The matrices of what `read` gave, on a device; rounded to the dtype that is wanted, if one is."""
        return [weight.to(device, wanted or weight.dtype) for weight in self.decode(read, shapes, dtype)]

    def within(self, overhead: int) -> Codec:  # noqa: ARG002
        """This codec where `overhead` further bytes count against its rate; most have no rate to keep."""
        return self


class EachAlone(Codec):
    """A codec that treats the matrices of a unit one by one."""

    @abstractmethod
    def encode_one(self, weight: Tensor) -> bytes: ...

    @abstractmethod
    def decode_one(self, payload: bytes, shape: Shape, dtype: torch.dtype) -> Tensor: ...

    def encode(self, weights: Sequence[Tensor], known: Sequence[Statistics | None], roles: Sequence[str]) -> bytes:  # noqa: ARG002
        return join([self.encode_one(weight) for weight in weights])

    def decode(self, payload: bytes, shapes: Sequence[Shape], dtype: torch.dtype) -> list[Tensor]:
        parts = split(payload, len(shapes))
        return [self.decode_one(part, shape, dtype) for part, shape in zip(parts, shapes, strict=True)]


def flat_shape(shape: Shape) -> tuple[int, int]:
    return shape[0], prod(shape[1:])
