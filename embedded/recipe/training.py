"""What the training stages share: checkpoints, batches, learning rate, parameter groups.

All random numbers are drawn from (seed, step), so a resumed run takes the same steps as an uninterrupted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def save_checkpoint(path: Path, step: int, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Writes the training state; the file is replaced in one step."""
    tensors: dict[str, torch.Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value.contiguous().clone() for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": torch.as_tensor(value).clone() for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path) + ".part", metadata={"step": str(step)})
    os.replace(str(path) + ".part", path)


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Restores the modules (and the optimizer) and returns the number of steps taken; 0 if there is no checkpoint."""
    if not path.exists():
        return 0
    with safe_open(str(path), framework="pt") as file:
        step = int(file.metadata()["step"])
        names = file.keys()
        for name, module in modules.items():
            prefix = name + "/"
            module.load_state_dict({n.removeprefix(prefix): file.get_tensor(n) for n in names if n.startswith(prefix)})
        if optimizer is not None:
            state: dict[int, dict[str, torch.Tensor]] = {}
            for n in names:
                if n.startswith("optimizer/"):
                    _, index, key = n.split("/")
                    state.setdefault(int(index), {})[key] = file.get_tensor(n)
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def batches(lengths: np.ndarray, size: int, seed: int, start: int) -> Iterator[np.ndarray]:
    """Endless batches of indices of utterances of similar length, from step `start` on."""
    per_epoch = -(-len(lengths) // size)
    step = start
    while True:
        epoch, offset = divmod(step, per_epoch)
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(lengths))
        pools = [order[i : i + 64 * size] for i in range(0, len(order), 64 * size)]
        groups = []
        for pool in pools:
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            groups += [pool[i : i + size] for i in range(0, len(pool), size)]
        for index in rng.permutation(len(groups))[offset:]:
            yield groups[index]
            step += 1


def learning_rate(peak: float, step: int, steps: int, warmup: float) -> float:
    """Linear warm-up for a share `warmup` of the steps, then a cosine down to 2 % of the peak."""
    progress = (step + 1) / steps
    if progress < warmup:
        return peak * progress / warmup
    return peak * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(1.0, (progress - warmup) / (1 - warmup)))))


def parameter_groups(modules: Mapping[str, nn.Module], decay: float) -> list[dict[str, object]]:
    """Trainable parameters, with weight decay on matrices only."""
    parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
