"""An artifact back into a plain transformers folder. `python -m compress.unpack ART --out DIR`"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.artifact.artifact import Artifact, load
from compress.cli import Parser, make_callable, run
from compress.codecs.raw import DTYPES
from compress.errors import UserError
from compress.model.layers import LayerDropper, set_tensor


def unpack(artifact: str | Path, out: str | Path, dtype: torch.dtype | None = None) -> int:
    """Write a folder that `from_pretrained` opens; returns its bytes. Weights as the original stored them."""
    opened = Artifact.open(artifact)
    out = Path(out)
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; give another name or remove it")
    model, _ = load(opened, dtype=dtype or opened.dtype)
    even_out(model, opened)
    partial: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        partial.chmod(0o755)
        for name, data in opened.files.items():
            (partial / name).write_bytes(data)
        model.save_pretrained(partial, safe_serialization=True)
        os.rename(partial, out)
        partial = None
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; nothing was left behind") from None
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
    return sum(file.stat().st_size for file in out.iterdir())


def even_out(model: nn.Module, artifact: Artifact) -> None:
    """Pruned MLPs as a plain config can say them: one width for all layers, or else neurons of zeros.

    A neuron whose weights are all zero adds exactly nothing.
    """
    whole = artifact.meta_model()
    LayerDropper(whole, artifact.structure).set_dropped(artifact.policy.dropped)
    full = {name: value.shape for name, value in whole.named_parameters()}
    for stack in artifact.structure.stacks:
        prefix = stack.path + "."
        pruned = {
            name: value
            for name, value in model.named_parameters()
            if name.startswith(prefix) and value.shape != full[name]
        }
        config: Any = getattr(model.get_submodule(stack.path.rpartition(".")[0]), "config", None)
        widths = {
            now
            for name, value in pruned.items()
            for now, was in zip(value.shape, full[name], strict=True)
            if now != was
        }
        layers = {name[len(prefix) :].partition(".")[0] for name in pruned}
        alike = len(widths) == 1 and len(layers) == len(list(model.get_submodule(stack.path).children()))
        if pruned and alike and hasattr(config, "intermediate_size"):
            config.intermediate_size = widths.pop()
            continue
        for name, value in pruned.items():
            padded = value.new_zeros(full[name])
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
