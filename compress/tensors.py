"""Tensors on their way into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_model(inputs: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Inputs on the model's device, floating-point ones (audio features) in its number format."""
    return {
        name: tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)
        for name, tensor in inputs.items()
    }
