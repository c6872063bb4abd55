"""Greedy decoding: many translations side by side, on a GPU each step one replayed CUDA graph.

`generate` of transformers launches over a thousand kernels a token from Python, and reads a cache that grows by
copying. Here prompts go through the model's own forward pass in the batches they were prepared in; their keys and
values move into slots (slots.py); then a step of all slots is the model's decoder on one token each, recorded once for
each number of columns. As translations end, the next batch moves into their slots. Only for models that are known to
be a plain decoder: the others are left to `generate`.

The tokens are those of `generate` where the arithmetic is the same; in 16 bits near ties may fall differently.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compress.memory import free_memory
from compress.model.head import head_sees
from compress.tensors import to_model
from evaluate.decoding.batches import Batch
from evaluate.decoding.slots import SlotCache, left_aligned, length_groups

SLOTS = {"cuda": 128, "cpu": 64}  # translations side by side
FREE_SHARE = 0.5  # of the free memory, for keys and values
COLUMNS = {"cuda": 64, "cpu": 16}  # a step sees a multiple of so many columns of the cache: one graph for each
KNOWN_DECODERS = ("cohere", "llama", "mistral", "qwen2", "qwen3")  # model types whose layers were tried
# Entries of a generation config that a plain greedy search does not look at, or that are read here.
IGNORED = {
    "_from_model_config",
    "bos_token_id",
    "cache_implementation",
    "do_sample",
    "eos_token_id",
    "max_length",
    "max_new_tokens",
    "pad_token_id",
    "temperature",
    "top_k",
    "top_p",
    "transformers_version",
    "use_cache",
}


def supports(model: Any) -> bool:
    """Whether the model is a decoder of a known type, with full attention, whose config asks for plain decoding."""
    if getattr(model.config, "is_encoder_decoder", False) or not isinstance(head_of(model), torch.nn.Module):
        return False
    config = getattr(model.get_decoder(), "config", None)
    if getattr(config, "model_type", "") not in KNOWN_DECODERS:
        return False
    if getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None) is not None:
        return False
    return not special_settings(model.generation_config)


def special_settings(generation: Any) -> list[str]:
    """Entries of a generation config that change what greedy decoding gives: penalties, forced or forbidden tokens."""
    plain, present = type(generation)().to_dict(), generation.to_dict()
    return sorted(n for n, value in present.items() if n not in IGNORED and value and value != plain.get(n))


def slots_on(device: torch.device) -> int:
    return SLOTS.get(device.type, SLOTS["cpu"])


def head_of(model: Any) -> Any:
    return model.get_output_embeddings()


@dataclass
class _Row:
    """A translation in its slot."""

    index: int  # of the segment
    tokens: list[int]


class GreedyDecoder:
    """Translates batches, longest prompts first, with at most `slots` rows at once (0: what suits the device).

    `encoder` gives the context in which a batch's prompt goes through the model: the encoder cache hooks in there.
    `notes` tells what did not go as meant.
    """

    def __init__(
        self,
        model: Any,
        max_new_tokens: int,
        encoder: Callable[[Batch], AbstractContextManager[None]],
        slots: int = 0,
        graphs: bool = True,
    ) -> None:
        self.model, self.max_new_tokens, self.encoder = model, max_new_tokens, encoder
        self.slots = slots or slots_on(model.device)
        self.notes: list[str] = []
        self._graphs = graphs and model.device.type == "cuda"
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, (list, tuple)) else [ends])

    def translate(self, batches: Sequence[Batch], ended: Callable[[int, list[int]], None]) -> None:
        """Calls `ended` with each segment and its new tokens, without the end token, as soon as it has them all."""
        lengths = [batch.inputs["input_ids"].shape[1] for batch in batches]
        with torch.inference_mode():
            for group in length_groups(lengths):
                self._group([batches[index] for index in group], lengths[group.start], ended)

    def _group(self, batches: Sequence[Batch], longest: int, ended: Callable[[int, list[int]], None]) -> None:
        waiting = deque(batches)
        largest = max(len(batch.indices) for batch in batches)
        columns = longest + self.max_new_tokens
        slots = max(min(self.slots, sum(len(batch.indices) for batch in batches), self._room(columns)), largest)
        step = _Step(self.model, slots, columns, self._graphs)
        rows: list[_Row | None] = [None] * slots
        while waiting or any(rows):
            free = [slot for slot, row in enumerate(rows) if row is None]
            while waiting and len(free) >= len(waiting[0].indices):
                batch = waiting.popleft()
                taken, free = free[: len(batch.indices)], free[len(batch.indices) :]
                for slot, index in zip(taken, batch.indices, strict=True):
                    rows[slot] = _Row(index, [])
                self._prefill(step, batch, taken)
                self._add(rows, taken, step.tokens.tolist(), ended)
            active = [slot for slot, row in enumerate(rows) if row is not None]
            if active:
                self._add(rows, active, step.run(active), ended)
        if step.failed:
            self.notes.append(step.failed)

    def _room(self, columns: int) -> int:
        """Slots of so many columns that there is room for, half of what is free left to everything else."""
        device = self.model.device
        if device.type == "cuda":
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            free = torch.cuda.mem_get_info(device)[0] + unused
        else:
            free = free_memory()
            if not free:  # the system does not say
                return self.slots
        return int(FREE_SHARE * free / (columns * column_bytes(self.model)))

    def _prefill(self, step: _Step, batch: Batch, slots: Sequence[int]) -> None:
        """The batch's prompts into slots, and the first token of each."""
        inputs = to_model(batch.inputs, self.model)
        mask = inputs["attention_mask"]
        positions = (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 1)  # as `generate` numbers them
        with self.encoder(batch), head_sees(self.model, lambda states: states[:, -1:]):
            outputs = self.model(**inputs, position_ids=positions, use_cache=True)
        first = outputs.logits[:, -1].float().argmax(-1)
        step.start(torch.tensor(slots, device=mask.device), mask, outputs.past_key_values, first)

    def _add(
        self,
        rows: list[_Row | None],
        slots: Sequence[int],
        tokens: Sequence[int],
        ended: Callable[[int, list[int]], None],
    ) -> None:
        """Adds each slot's token to its row; a row that ends with it leaves its slot."""
        for slot in slots:
            row = rows[slot]
            assert row is not None
            end = tokens[slot] in self._ends
            if not end:
                row.tokens.append(tokens[slot])
            if end or len(row.tokens) == self.max_new_tokens:
                rows[slot] = None
                ended(row.index, row.tokens)


class _Step:
    """One token for every slot. `tokens` [slots] are the last ones, `positions` where they go."""

    def __init__(self, model: Any, slots: int, columns: int, graphs: bool) -> None:
        self.model, self.head = model, head_of(model)
        self.embedding, self.decoder = model.get_input_embeddings(), model.get_decoder()
        self.columns, self.multiple = columns, COLUMNS.get(model.device.type, COLUMNS["cpu"])
        self.tokens = torch.zeros(slots, dtype=torch.long, device=model.device)
        self.positions = torch.zeros(slots, dtype=torch.long, device=model.device)
        self.cache = SlotCache(slots, columns, self.positions)
        self.failed = ""  # why steps are not recorded
        self._lengths = [0] * slots  # the positions, known here without asking the GPU
        self._graphs: dict[int, Any] = {}  # by columns in use; None after the first, plain step
        self._record = graphs
        self._pool = torch.cuda.graph_pool_handle() if graphs else None

    def start(self, slots: Tensor, mask: Tensor, cache: Any, first: Tensor) -> None:
        """Prompts whose keys and values are in `cache` (of transformers), and the first token of each."""
        order = left_aligned(mask)
        for number, (keys, values) in enumerate(layers_of(cache)):
            self.cache.write(number, slots, order, keys, values)
        self.tokens[slots], self.positions[slots] = first, mask.long().sum(-1)
        for slot, length in zip(slots.tolist(), mask.sum(-1).tolist(), strict=True):
            self._lengths[slot] = length

    def run(self, active: Sequence[int]) -> list[int]:
        """A step of all slots, of which only the active ones matter; the tokens it gives."""
        needed = max(self._lengths[slot] for slot in active) + 1
        self.cache.used = min(-(-needed // self.multiple) * self.multiple, self.columns)
        self._lengths = [min(length + 1, self.columns - 1) for length in self._lengths]
        graph = self._graphs.get(self.cache.used)
        if graph is None and self._record and self.cache.used in self._graphs:
            graph = self._recorded()
        if graph is not None:
            graph.replay()
        else:
            self._step()
            self._graphs[self.cache.used] = None
        tokens: list[int] = self.tokens.tolist()
        return tokens

    def _step(self) -> None:
        """Reads and writes the same tensors each time."""
        seen = torch.arange(self.cache.used, device=self.tokens.device) <= self.positions[:, None]
        mask = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
        mask = mask.masked_fill(~seen, torch.finfo(self.model.dtype).min)[:, None, None]
        states = self.decoder(
            inputs_embeds=self.embedding(self.tokens[:, None]),
            attention_mask=mask,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.tokens.copy_(self.head(states[:, -1]).float().argmax(-1))
        self.positions.copy_((self.positions + 1).clamp(max=self.columns - 1))

    def _recorded(self) -> Any:
        """The step as a CUDA graph; None, and no more tries, where it cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads read variants ahead and may use the GPU meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            torch.cuda.synchronize()
            self._record = False
            self.failed = f"decoding without CUDA graphs: {str(error).splitlines()[0][:120]}"
            return None
        self._graphs[self.cache.used] = graph
        return graph


def column_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = model.get_decoder().config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(config.num_hidden_layers * 2 * heads * width * model.dtype.itemsize)


def layers_of(cache: Any) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer in a cache that a transformers model returned."""
    layers = getattr(cache, "layers", None)
    if layers is not None:
        return [(layer.keys, layer.values) for layer in layers]
    return [(entry[0], entry[1]) for entry in cache]
