"""Logits only where they are wanted.

With a large vocabulary the logits of whole prompts are a model's largest activations: 8 GB in bfloat16 for 32 prompts
of 850 tokens and a vocabulary of 156,032. The output head is one module in every model, so it can be made to see some
positions only, whatever the model does around it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn


@contextlib.contextmanager
def head_sees(model: Any, select: Callable[[Tensor], Tensor]) -> Iterator[bool]:
    """Inside the block the head gets `select(states)` in place of the states [rows, length, width] of all positions.

    Yields whether it does: a model may have no output head, or one that is no module of its own.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        yield False
        return
    replaced, original = head.__dict__.get("forward"), head.forward
    head.forward = lambda states, *args, **kwargs: original(select(states), *args, **kwargs)
    try:
        yield True
    finally:
        del head.forward
        if replaced is not None:
            head.forward = replaced


def logits_at(model: Any, inputs: Mapping[str, Any], positions: Tensor) -> Tensor:
    """Logits [positions, vocabulary] of one pass at the positions (bool [rows, length]), row by row."""
    rows, columns = positions.nonzero(as_tuple=True)
    with head_sees(model, lambda states: states[rows, columns].unsqueeze(0)) as selected:
        logits: Tensor = model(**inputs, use_cache=False).logits
    return logits[0] if selected else logits[rows, columns]


def run_without_logits(model: Any, inputs: Mapping[str, Any]) -> None:
    """One pass for the sake of hooks: the head still gets all states, but multiplies none of them."""
    with head_sees(model, lambda states: states[:, :0]):
        model(**inputs, use_cache=False)
