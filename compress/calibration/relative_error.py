"""How much noise a level adds to a unit's outputs, relative to them: what stands in for KL where none was measured."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from compress.calibration.hessians import statistics
from compress.codecs.statistics import Statistics
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store
from compress.policy.variant import Variant, decode_unit


def relative_error(source: Source, store: Store, variant: Variant, calibration: str) -> float:
    """Σ g·(ΔW H ΔWᵀ) / Σ g·(W H Wᵀ) over the outputs of a unit.

    H is the calibration's second moment of the inputs and g the importance of an output. Without a calibration both
    are 1: then it is the relative error of the weights.
    """
    unit = source.structure.unit(variant.unit)
    payload = store.get(variant.key)
    assert payload is not None
    known = statistics(store.root, calibration, unit) if calibration else [None] * len(unit.tensors)
    noise = 0.0
    decoded = decode_unit(payload, unit, variant.level, torch.float32)
    for name, weight, of_matrix in zip(unit.tensors, decoded, known, strict=True):
        stored = source.tensor(name)
        original = stored.float().flatten(1)
        # A pruned FFN has fewer rows or columns: there all of the weight counts as error.
        error = weight.float().flatten(1) - original if weight.shape == stored.shape else original
        noise += energy(error, of_matrix)
    return max(noise, 0.0) / max(_energy_of_unit(source, store.root, calibration, unit), 1e-30)


@lru_cache(maxsize=4)  # a unit is asked for at many levels in a row
def _energy_of_unit(source: Source, store: str, calibration: str, unit: Unit) -> float:
    known = statistics(store, calibration, unit) if calibration else [None] * len(unit.tensors)
    tensors = zip(unit.tensors, known, strict=True)
    return sum(energy(source.tensor(name).float().flatten(1), of_matrix) for name, of_matrix in tensors)


def energy(matrix: Tensor, known: Statistics | None) -> float:
    """Σ g·(M H Mᵀ) over outputs."""
    if known is None:
        return float(matrix.square().sum())
    outputs = ((matrix @ known.hessian) * matrix).sum(dim=1)
    return float((outputs if known.importance is None else outputs * known.importance).sum())
