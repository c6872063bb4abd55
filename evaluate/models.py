"""Loads a model by name: embedded, an artifact, a transformers folder, a hub name."""

from __future__ import annotations

from typing import Any

import compress
from compress.artifact.manifest import MANIFEST
from compress.errors import UserError
from compress.models import resolve_model


def load_model(name: str, device: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """Model and processor (a text model's tokenizer), on a GPU if there is one, read tensor by tensor."""
    import torch

    folder = resolve_model(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0][:120]}") from None
    if (folder / MANIFEST).is_file():
        return compress.load(folder, dtype, device)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is neither an artifact nor a transformers model: there is no config.json in it")
    return compress.load(compress.Source.open(folder), dtype, device)
