"""The keys and values of a greedy decoder: a fixed number of slots, each filled up to a position of its own.

One storage for a whole group of batches, so that a step always reads and writes the same addresses (a CUDA graph needs
that) and a translation that ends makes room for another in the middle of a run. The attention of a transformers model
takes it for one of its own caches: `update` is all that it calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class SlotCache:
    """Keys and values [slots, heads, columns, width] by layer, allocated when a layer first writes.

    A step writes one token a slot, at `positions` [slots], and sees the first `used` columns.
    """

    def __init__(self, slots: int, columns: int, positions: Tensor) -> None:
        self.slots, self.columns, self.positions = slots, columns, positions
        self.used = columns
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes a token's keys and values [slots, heads, 1, width]; returns those of all columns in use."""
        at = self.positions[:, None, None, None].expand_as(keys)
        self._keys[layer_idx].scatter_(2, at, keys)
        self._values[layer_idx].scatter_(2, at, values)
        return self._keys[layer_idx][:, :, : self.used], self._values[layer_idx][:, :, : self.used]

    def get_seq_length(self, *_: Any) -> int:
        """What a model numbers its positions from where it is given none."""
        return 0

    def write(self, layer: int, slots: Tensor, order: Tensor, keys: Tensor, values: Tensor) -> None:
        """A prompt's keys and values [rows, heads, length, width] into slots, column c from column order[:, c]."""
        for storage, new in ((self._keys, keys), (self._values, values)):
            if layer not in storage:
                shape = (self.slots, new.shape[1], self.columns, new.shape[3])
                storage[layer] = new.new_zeros(shape)
            moved = new.gather(2, order[:, None, :, None].expand_as(new))
            storage[layer][slots, :, : new.shape[2]] = moved


def left_aligned(mask: Tensor) -> Tensor:
    """For prompts padded on the left: the column [rows, length] that each column of a slot is read from.

    Behind a prompt's end come columns that its slot overwrites before it sees them.
    """
    length = mask.shape[1]
    return (torch.arange(length, device=mask.device) + length - mask.sum(-1, keepdim=True)).clamp(max=length - 1)


def length_groups(lengths: Sequence[int], ratio: float = 2.0) -> list[range]:
    """Batches, longest first, in groups whose longest prompt is at most `ratio` times its shortest batch's."""
    groups: list[range] = []
    start = 0
    for index in range(1, len(lengths) + 1):
        if index == len(lengths) or lengths[start] > ratio * lengths[index]:
            groups.append(range(start, index))
            start = index
    return groups
