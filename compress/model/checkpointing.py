"""Backward passes that fit: each layer keeps its input only, and runs a second time on the way back.

transformers' own switch (`gradient_checkpointing_enable`) needs a model in training mode, which brings dropout with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from compress.model.structure import Structure


@contextlib.contextmanager
def checkpointed_layers(model: nn.Module, structure: Structure) -> Iterator[None]:
    """Inside the block every layer of every stack is a checkpoint."""
    layers = [layer for stack in structure.stacks for layer in model.get_submodule(stack.path).children()]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
