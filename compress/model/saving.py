"""Saves a model as a transformers folder whose names every version reads.

transformers 5.17 writes `language_model.model.model.…` for models that it did not load itself; 4.57 would find no such
weights and go on with random ones, with a warning.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

INDEX = "model.safetensors.index.json"
DOUBLED, ONCE = ".model.model.", ".model."


def save_checkpoint(model: Any, folder: Path) -> None:
    """`save_pretrained`, with names as transformers 4 writes them."""
    model.save_pretrained(folder, safe_serialization=True)
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            names = list(file.keys())
            if not any(DOUBLED in name for name in names):
                continue
            tensors = {name.replace(DOUBLED, ONCE): file.get_tensor(name) for name in names}
        save_file(tensors, shard, {"format": "pt"})
    index = folder / INDEX
    if index.exists():
        table = json.loads(index.read_text(encoding="utf-8"))
        table["weight_map"] = {name.replace(DOUBLED, ONCE): shard for name, shard in table["weight_map"].items()}
        index.write_text(json.dumps(table, indent=2), encoding="utf-8")
