"""Calibration statistics in the store: one Hessian for each distinct input of a unit's matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compress.codecs.length_prefix import join, put_varint, split, take_varint
from compress.codecs.statistics import Statistics
from compress.errors import UserError
from compress.model.structure import Unit
from compress.policy.store import Store

_NO_GROUP = 255


def hessian_key(calibration: str, unit: Unit) -> str:
    """The store's key of a unit's statistics."""
    return hashlib.blake2b(f"hessian:{calibration}:{unit.name}".encode(), digest_size=20).hexdigest()


def statistics(store: str, calibration: str, unit: Unit, device: str | torch.device = "cpu") -> list[Statistics | None]:
    """The statistics of each matrix of a unit, on a device; None for one that the model did not use."""
    data = Store(store).get(hessian_key(calibration, unit))
    if data is None:
        raise UserError(f"the store {store} holds no calibration {calibration} for unit {unit.name}; calibrate first")
    return _from_bytes(data, unit, torch.device(device))


def hessians_to_bytes(
    groups: Sequence[int | None], sums: Sequence[Tensor], importance: Sequence[Tensor | None]
) -> bytes:
    """Diagonals in float32 and correlations in 16 bits, upper triangle only: a quarter of the float32 matrix.

    The rounding error is 1/65534 of a correlation, far below the damping that codecs add.
    """
    parts = [bytes(_NO_GROUP if g is None else g for g in groups)]
    for value in importance:
        parts.append(b"" if value is None else value.to(torch.float32).cpu().numpy().tobytes())
    for total in sums:
        h = total.to(torch.float64)
        diagonal = h.diagonal().clamp(min=0)
        root = diagonal.sqrt().clamp(min=1e-300)
        upper = torch.triu_indices(len(h), len(h), offset=1, device=h.device)
        correlation = (h[upper[0], upper[1]] / (root[upper[0]] * root[upper[1]])).clamp(-1, 1)
        packed = (correlation * 32767).round().to(torch.int16).cpu().numpy().tobytes()
        parts.append(put_varint(len(h)) + diagonal.to(torch.float32).cpu().numpy().tobytes() + packed)
    return bytes((len(parts),)) + join(parts)


def _from_bytes(data: bytes, unit: Unit, device: torch.device) -> list[Statistics | None]:
    count = len(unit.tensors)
    parts = split(data[1:], data[0])
    hessians = []
    for part in parts[1 + count :]:
        width, offset = take_varint(part, 0)
        diagonal = torch.from_numpy(np.frombuffer(part, np.float32, width, offset).astype(np.float64)).to(device)
        packed = np.frombuffer(part, np.int16, width * (width - 1) // 2, offset + 4 * width)
        upper = torch.triu_indices(width, width, offset=1, device=device)
        h = torch.zeros(width, width, dtype=torch.float64, device=device)
        h[upper[0], upper[1]] = torch.from_numpy(packed.copy()).to(device).to(torch.float64) / 32767
        h = h + h.T + torch.eye(width, dtype=torch.float64, device=device)
        root = diagonal.sqrt()
        hessians.append((h * root[:, None] * root[None, :]).to(torch.float32))
    known: list[Statistics | None] = []
    for group, values in zip(parts[0][:count], parts[1 : 1 + count], strict=True):
        importance = torch.from_numpy(np.frombuffer(values, np.float32).copy()).to(device) if values else None
        known.append(None if group == _NO_GROUP else Statistics(hessians[group], importance))
    return known
