"""Adapters: what training adds to the encoded matrices of a unit, stored beside them at a level of its own.

Rank r > 0: two thin matrices A [r, inputs] and B [r, outputs] for each matrix W of the unit, which becomes W + Bᵀ A.
Rank 0: one factor a row, s [1, outputs]; W becomes (1 + s)ᵀ W. Shapes follow from those of the decoded matrices, so a
unit with a pruned FFN has adapters of its smaller width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.codecs import codec
from compress.codecs.base import Shape
from compress.errors import UserError
from compress.model.structure import Unit

MOST_RANK = 1024


@dataclass(frozen=True)
class Adapter:
    """The adapter of one unit. `level` is that of the thin matrices, not of the unit."""

    unit: str
    level: str
    rank: int
    payload: bytes

    def merge(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The unit's matrices with the adapter added, in float32."""
        shapes = [tuple(value.shape) for value in values]
        thin = codec(self.level).decode(self.payload, thin_shapes(self.unit, self.rank, shapes), torch.float32)
        thin = [value.to(torch.float32) for value in thin]
        if self.rank == 0:
            return [value.to(torch.float32) * (1 + s.T) for value, s in zip(values, thin, strict=True)]
        pairs = zip(thin[0::2], thin[1::2], strict=True)
        return [value.to(torch.float32) + b.T @ a for value, (a, b) in zip(values, pairs, strict=True)]


def encode_adapter(unit: str, level: str, rank: int, thin: Sequence[Tensor], shapes: Sequence[Shape]) -> Adapter:
    """Encode an adapter from A, B, A, B, … of the unit's matrices in order (rank 0: one s each) and their shapes."""
    expected = thin_shapes(unit, rank, shapes)
    if [tuple(value.shape) for value in thin] != expected:
        raise UserError(f"an adapter of rank {rank} for unit {unit} has matrices of shapes {expected}, not these")
    chosen = codec(level)
    roles = [str(i) for i in range(len(thin))]
    chosen.refuse_unsupported(expected, roles, f"the adapter of unit {unit}")
    values = [value.detach().to("cpu", torch.float32).contiguous() for value in thin]
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise UserError(f"the adapter of unit {unit} holds values that are not finite")
    return Adapter(unit, chosen.level, rank, chosen.encode(values, [None] * len(thin), roles))


def thin_shapes(unit: str, rank: int, shapes: Sequence[Shape]) -> list[Shape]:
    """Shapes of an adapter's thin matrices, from those of the unit's matrices."""
    if not 0 <= rank <= MOST_RANK or any(len(shape) != 2 for shape in shapes):
        raise UserError(f"no adapter of rank {rank} for unit {unit}: only units of plain matrices have one")
    if rank == 0:
        return [(1, shape[0]) for shape in shapes]
    return [thin for outputs, inputs in shapes for thin in ((rank, inputs), (rank, outputs))]


def merge_adapter(adapters: Mapping[str, Adapter], unit: Unit, values: list[Tensor]) -> list[Tensor]:
    """The matrices of a unit with its adapter added, if it has one."""
    adapter = adapters.get(unit.name)
    return values if adapter is None else adapter.merge(values)
