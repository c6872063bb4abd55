"""What encoding will take before it is done: seconds, and bytes of the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path

import torch

import compress
from compress.codecs import codec
from compress.codecs.levels import bits_of
from compress.codecs.speed import EncodingSpeed, measured
from search.config import Config

HESSIAN_BYTES = 1.0  # an element: 16 bits of the upper triangle


def store_bytes(structure: compress.Structure, levels: Sequence[str], dtype: str, calibrated: bool) -> int:
    """Bytes of all variants and of the calibration. `raw` at the checkpoint's dtype takes none."""
    bits = {level: _bits(level) for level in levels if level != f"raw:{dtype}"}
    total = sum(unit.weights * bits[level] / 8 for unit in structure.units.values() for level in bits)
    if calibrated:
        total += sum(HESSIAN_BYTES * inputs**2 for unit in structure.units.values() for inputs in _inputs(unit))
    return round(total)


def encoding_seconds(
    structure: compress.Structure, levels: Sequence[str], speed: EncodingSpeed, frozen: Collection[str] = ()
) -> float:
    """Of one thread, or one GPU, for every unit at every level that may change."""
    total = 0.0
    for unit in structure.units.values():
        if unit.name in frozen:
            continue
        total += sum(speed.seconds(level, unit.weights) for level in levels)
        if any(codec(level).uses_hessian for level in levels):
            total += sum(speed.factor_seconds(inputs) for inputs in _inputs(unit))
    return total


def this_machine(config: Config) -> tuple[str, EncodingSpeed, int]:
    """Device that workers encode on, its speed, and how many workers times threads do it at once."""
    gpus = torch.cuda.device_count() if config.gpus_per_worker else 0
    workers = config.workers or gpus or max(1, (os.cpu_count() or 1) // max(config.threads, 1))
    if gpus:
        return "cuda", measured("cuda"), workers
    return "cpu", measured(), workers * (config.threads or max(1, ((os.cpu_count() or 1) - 1) // workers))


def free_bytes(folder: str) -> int:
    """Of the disk that a folder, which need not be there yet, is or will be on."""
    path = Path(folder).resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _inputs(unit: compress.Unit) -> set[int]:
    """Widths of the inputs that a unit's matrices share. An embedding's Hessian is the identity."""
    return set() if unit.kind == "embedding" else {prod(shape[1:]) for shape in unit.shapes}


def _bits(level: str) -> float:
    bits = bits_of(level)
    return (bits.least + bits.most) / 2 if bits.nominal is None else bits.nominal
