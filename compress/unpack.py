"""Unpacking: an artifact becomes a plain transformers folder. `python -m compress.unpack ART --out DIR`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.artifact.artifact import Artifact, load
from compress.atomic_folder import atomic_folder
from compress.cli import Parser, make_callable, run
from compress.codecs.raw import DTYPES
from compress.model.layers import LayerDropper
from compress.model.meta_model import set_tensor
from compress.model.saving import save_checkpoint


def unpack(artifact: str | Path, out: str | Path, dtype: torch.dtype | None = None) -> int:
    """Write a folder that `from_pretrained` opens and return its bytes. By default at the original's dtype."""
    opened = Artifact.open(artifact)
    out = Path(out)
    with atomic_folder(out) as folder:
        model, _ = load(opened, dtype=dtype or opened.dtype)
        expand_pruned(model, opened)
        for name, data in opened.aux_files.items():
            (folder / name).write_bytes(data)
        save_checkpoint(model, folder)
    return sum(file.stat().st_size for file in out.iterdir())


def expand_pruned(model: nn.Module, artifact: Artifact) -> None:
    """Make pruned MLPs fit a plain config: one smaller width where all layers of a stack agree, else zero neurons.

    A neuron whose weights are all zero adds exactly nothing.
    """
    original = artifact.meta_model()
    LayerDropper(original, artifact.structure).set_dropped(artifact.policy.dropped)
    shapes = {name: value.shape for name, value in original.named_parameters()}
    for stack in artifact.structure.stacks:
        prefix = stack.path + "."
        pruned = {
            name: value
            for name, value in model.named_parameters()
            if name.startswith(prefix) and value.shape != shapes[name]
        }
        config: Any = getattr(model.get_submodule(stack.path.rpartition(".")[0]), "config", None)
        widths = {
            size
            for name, value in pruned.items()
            for size, original_size in zip(value.shape, shapes[name], strict=True)
            if size != original_size
        }
        layers = {name[len(prefix) :].partition(".")[0] for name in pruned}
        alike = len(widths) == 1 and len(layers) == len(list(model.get_submodule(stack.path).children()))
        if pruned and alike and hasattr(config, "intermediate_size"):
            config.intermediate_size = widths.pop()
            continue
        for name, value in pruned.items():
            padded = value.new_zeros(shapes[name])
            padded[: value.shape[0], : value.shape[1]] = value
            set_tensor(model, name, padded)


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m compress.unpack", description="Write a plain transformers folder.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder to write; must not exist yet")
    parser.add_argument("--dtype", choices=list(DTYPES), help="format of the weights (default: the original's)")
    options = parser.parse_args(arguments)
    nbytes = unpack(options.artifact, options.out, DTYPES[options.dtype] if options.dtype else None)
    print(f"{options.out}: {nbytes:,} bytes")


make_callable(__name__, unpack)

if __name__ == "__main__":
    sys.exit(run(main))
