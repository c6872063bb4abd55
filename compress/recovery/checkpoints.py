"""The state of a training run on disk: safetensors and JSON, no pickle; a checkpoint is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.errors import UserError, first_line

STATE, TRAINED, OPTIMISER, BEST = "state.json", "trained.safetensors", "optimiser.safetensors", "best.safetensors"


def save(
    folder: Path,
    step: int,
    state: Mapping[str, Any],
    trained: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer | None,
    best: Mapping[str, Tensor] | None,
) -> None:
    """Writes `checkpoint-STEP` and removes those before it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"checkpoint-{step:08d}"
    partial = Path(tempfile.mkdtemp(prefix=".checkpoint.", dir=folder))
    try:
        save_file(_plain(trained), str(partial / TRAINED))
        if optimiser is not None:
            save_file(_plain(moments(optimiser)), str(partial / OPTIMISER))
        if best is not None:
            save_file(_plain(best), str(partial / BEST))
        (partial / STATE).write_text(json.dumps(dict(state)) + "\n", encoding="utf-8")
        for file in partial.iterdir():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        if final.exists():
            shutil.rmtree(final)
        os.rename(partial, final)
    except OSError as error:
        raise UserError(f"cannot write the checkpoint {final}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in list_of(folder):
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def list_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor] | None] | None:
    """State, trained tensors, the optimiser's and the best of the latest checkpoint; None where there is none."""
    from safetensors.torch import load_file

    saved = list_of(folder)
    if not saved:
        return None
    latest = saved[-1]
    try:
        state = json.loads((latest / STATE).read_text(encoding="utf-8"))
        trained = load_file(str(latest / TRAINED))
        optimiser = load_file(str(latest / OPTIMISER)) if (latest / OPTIMISER).exists() else {}
        best = load_file(str(latest / BEST)) if (latest / BEST).exists() else None
    except Exception as error:  # safetensors raises a class of its own
        raise UserError(f"damaged checkpoint {latest} ({first_line(error)}): remove it to begin anew") from None
    return state, trained, optimiser, best


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What AdamW remembers, by the number of the parameter."""
    return {
        f"{index}/{key}": torch.as_tensor(value)
        for index, entry in optimiser.state_dict()["state"].items()
        for key, value in entry.items()
    }


def put_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
