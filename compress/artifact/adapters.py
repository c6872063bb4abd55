"""Adapters: what training adds to the encoded matrices of a unit, stored beside them at a level of its own.

Rank r > 0: two thin matrices A [r, inputs] and B [r, outputs] for each matrix W of the unit, which then is W + Bᵀ A.
Rank 0: one factor a row, W then is (1 + s)ᵀ W with s [1, outputs]. Shapes follow from those of the decoded matrices, so
that units whose FFN was pruned have adapters of their own width.
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
    """The addition to one unit. `level` is that of the thin matrices, not of the unit."""

    unit: str
    level: str
    rank: int
    payload: bytes

    def merge(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The matrices of the unit with the addition made, in float32."""
        shapes = [tuple(value.shape) for value in values]
        thin = codec(self.level).decode(self.payload, thin_shapes(self.unit, self.rank, shapes), torch.float32)
        thin = [value.to(torch.float32) for value in thin]
        if self.rank == 0:
            return [value.to(torch.float32) * (1 + s.T) for value, s in zip(values, thin, strict=True)]
        pairs = zip(thin[0::2], thin[1::2], strict=True)
        return [value.to(torch.float32) + b.T @ a for value, (a, b) in zip(values, pairs, strict=True)]


def encode_adapter(unit: str, level: str, rank: int, thin: Sequence[Tensor], shapes: Sequence[Shape]) -> Adapter:
    """`thin` are A, B, A, B, … of the unit's matrices in order (for rank 0 one s each), `shapes` the matrices'."""
    wanted = thin_shapes(unit, rank, shapes)
    if [tuple(value.shape) for value in thin] != wanted:
        raise UserError(f"an adapter of rank {rank} for unit {unit} has matrices {wanted}; these are others")
    chosen = codec(level)
    reason = chosen.unit_unsupported(wanted, [str(i) for i in range(len(wanted))])
    if reason:
        raise UserError(f"level {level} does not fit the adapter of unit {unit}: {reason}")
    known = [None] * len(thin)
    values = [value.detach().to("cpu", torch.float32).contiguous() for value in thin]
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise UserError(f"the adapter of unit {unit} holds values that are no numbers")
    return Adapter(unit, chosen.level, rank, chosen.encode(values, known, [str(i) for i in range(len(thin))]))


def thin_shapes(unit: str, rank: int, shapes: Sequence[Shape]) -> list[Shape]:
    """Shapes of what an adapter stores, from those of the unit's matrices."""
    if not 0 <= rank <= MOST_RANK or any(len(shape) != 2 for shape in shapes):
        raise UserError(f"no adapter of rank {rank} for unit {unit}: only units of plain matrices have one")
    if rank == 0:
        return [(1, shape[0]) for shape in shapes]
    return [thin for outputs, inputs in shapes for thin in ((rank, inputs), (rank, outputs))]


def merge_adapter(adapters: Mapping[str, Adapter], unit: Unit, values: list[Tensor]) -> list[Tensor]:
    """The matrices of a unit as the model uses them."""
    found = adapters.get(unit.name)
    return values if found is None else found.merge(values)
