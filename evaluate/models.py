"""Loads a model by name: embedded, an artifact, a transformers folder, a hub name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compress
from compress.artifact.artifact import working_dtype
from compress.artifact.assemble import as_model, processor_of
from compress.artifact.manifest import MANIFEST
from compress.errors import UserError


def find_model(name: str) -> Path:
    """The folder of a model. Refuses what is neither here nor to be had."""
    if name == "embedded" and not Path(name, "config.json").is_file():
        import embedded

        return embedded.MODEL
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(
            f"model '{name}' is not there: give a folder, an artifact, a hub name (owner/name), or embedded"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.bin", "*.pt", "*.gguf"]))
    except Exception as error:
        raise UserError(
            f"model '{name}' is neither in the local cache nor to be had from the hub ({type(error).__name__}):"
            " download it where there is a network and give its folder with --model"
        ) from None


def load_model(name: str, device: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """Model and processor (a text model's tokenizer), on a GPU if there is one, read tensor by tensor."""
    import torch

    folder = find_model(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0][:120]}") from None
    if (folder / MANIFEST).is_file():
        return compress.load(folder, dtype, device)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is neither an artifact nor a transformers model: there is no config.json in it")
    source = compress.Source.open(folder)
    structure = source.structure
    names = [*structure.kept, *(tensor for unit in structure.units.values() for tensor in unit.tensors)]
    model = as_model(
        source.meta_model(),
        structure,
        ((tensor, source.tensor(tensor)) for tensor in names),
        (),
        working_dtype(source.dtype, dtype, device),
        device,
        source.fixed,
    )
    return model, processor_of(source.fixed)
