"""Batches → translations by greedy decoding, in the order of the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from compress.memory import FittingRows
from compress.tensors import to_model
from evaluate.decoding import greedy
from evaluate.decoding.batches import Batch, split_batches, tokenizer_of
from evaluate.decoding.encoder_cache import EncoderCache, cached_encoder


def translate(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    max_new_tokens: int = 256,
    progress: Callable[[int], None] | None = None,
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
    fitting: FittingRows | None = None,
    use_generate: bool | None = None,
) -> list[str]:
    """One translation a segment. What runs out of memory is tried again with half the rows, down to one.

    Args:
        progress: called with the number of segments translated so far.
        encoder_cache: keeps the encoder's outputs under `encoder_key` (see `encoder_cache.encoder_key`); translations
            are the same with and without it.
        fitting: what is known of how many rows fit in memory.
        use_generate: the model's own `generate` in place of our loop (greedy.py); without it, for models that the loop
            does not know.
    """
    if use_generate is None:
        use_generate = not greedy.supports(model)
    tokens: dict[int, list[int]] = {}

    def ended(index: int, row: list[int]) -> None:
        tokens[index] = row
        if progress is not None:
            progress(len(tokens))

    def work(rows: int) -> None:
        remaining = split_batches(batches, rows, without=tokens)
        if use_generate:
            with torch.inference_mode():
                for batch in remaining:
                    with cached_encoder(model, batch, encoder_cache, encoder_key):
                        new = _generate(model, batch, max_new_tokens)
                    for index, row in zip(batch.indices, new, strict=True):
                        ended(index, row)
        else:
            decoder = greedy.GreedyDecoder(
                model, max_new_tokens, lambda batch: cached_encoder(model, batch, encoder_cache, encoder_key), rows
            )
            decoder.translate(remaining, ended)
            for note in dict.fromkeys(decoder.notes):
                logging.getLogger(__name__).warning(note)

    largest = max((len(batch.indices) for batch in batches), default=1)
    (fitting or FittingRows()).run(work, largest if use_generate else max(largest, greedy.slots_on(model.device)))
    order = sorted(tokens)
    texts: list[str] = tokenizer_of(processor).batch_decode([tokens[i] for i in order], skip_special_tokens=True)
    return texts


def _generate(model: Any, batch: Batch, max_new_tokens: int) -> list[list[int]]:
    """The new tokens of each row by the model's own `generate`."""
    generated = model.generate(**to_model(batch.inputs, model), do_sample=False, max_new_tokens=max_new_tokens)
    prompt_length = batch.inputs["input_ids"].shape[1]
    return [up_to_end(row, model) for row in generated[:, prompt_length:].tolist()]


def up_to_end(tokens: list[int], model: Any) -> list[int]:
    """Tokens up to the first end token; the padding behind it need not be a special token."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, (list, tuple)) else [ends]
    return tokens[: next((position for position, token in enumerate(tokens) if token in ends), len(tokens))]
