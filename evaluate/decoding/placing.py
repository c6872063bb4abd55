"""Inputs on a model's device, sound in its number format."""

from __future__ import annotations

from typing import Any


def place(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    return {
        name: tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)
        for name, tensor in inputs.items()
    }
