"""Steps of columns and outputs as they are written: quarters of a power of two below the widest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FINEST = 96  # largest code: 2^-24 of the widest


def step_codes(relative: Tensor) -> NDArray[np.int16]:
    """Codes of steps relative to the widest."""
    return (-4 * torch.log2(relative)).round().clamp(0, FINEST).to(torch.int16).cpu().numpy()


def steps_of(codes: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.exp2(codes.astype(np.float32) / -4).astype(np.float32)
