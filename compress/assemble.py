"""From tensors and fixed files to a model and a processor that work: what loading and residents share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.anatomy import Anatomy
from compress.errors import Refusal
from compress.surgery import Stacks, set_tensor


def as_model(
    skeleton: nn.Module,
    anatomy: Anatomy,
    tensors: Iterable[tuple[str, Tensor]],
    dropped: Iterable[str],
    dtype: torch.dtype,
    device: str | torch.device,
    files: Mapping[str, bytes],
) -> nn.Module:
    """Fill a skeleton with tensors, take out the dropped layers, and make it ready to generate."""
    for name, value in tensors:
        set_tensor(skeleton, name, value.to(device, dtype))
    Stacks(skeleton, anatomy).drop(dropped)
    finish(skeleton, device, files)
    return skeleton


def finish(model: nn.Module, device: str | torch.device, files: Mapping[str, bytes]) -> None:
    """Tie what is tied, move buffers, read the generation settings."""
    from transformers import GenerationConfig

    model.tie_weights()  # type: ignore[operator]
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
    missing = [name for name, value in model.named_parameters() if value.is_meta]
    if missing:
        raise Refusal(f"no weights for {missing[0]} ({len(missing)} tensors missing in all)")
    if "generation_config.json" in files:
        model.generation_config = GenerationConfig.from_dict(_table(files, "generation_config.json"))
    model.eval()


def processor_of(files: Mapping[str, bytes]) -> Any:
    """The processor of a model with audio or images, the tokenizer of a text model; None without either."""
    from transformers import AutoProcessor, AutoTokenizer

    names = set(files)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            if names & {"preprocessor_config.json", "processor_config.json"}:
                return AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            if names & {"tokenizer.json", "vocab.json", "tokenizer.model", "vocab.txt"}:
                return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # whatever a damaged tokenizer makes transformers raise
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise Refusal(f"the processor of this model does not load: {first}") from None
    return None


def _table(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        table = json.loads(files[name])
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise Refusal(f"{name} of this model is not a table")
    return table
