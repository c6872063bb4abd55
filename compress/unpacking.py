"""An artifact back into a plain transformers folder, for every program that knows nothing of artifacts."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import torch

from compress.artifact import Artifact, load
from compress.errors import Refusal


def unpack(artifact: str | Path, out: str | Path, dtype: torch.dtype | None = None) -> int:
    """Write a folder that `from_pretrained` opens; returns its bytes. Weights as the original stored them."""
    opened = Artifact.open(artifact)
    out = Path(out)
    if out.exists() or out.is_symlink():
        raise Refusal(f"{out} exists already; give another name or remove it")
    model, _ = load(opened, dtype=dtype or opened.dtype)
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
        raise Refusal(f"cannot write {out}: {error.strerror or error}; nothing was left behind") from None
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
    return sum(file.stat().st_size for file in out.iterdir())
