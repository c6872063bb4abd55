"""Batches → translations by greedy decoding, in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compress.tensors import to_model
from evaluate.decoding.batches import Batch, tokenizer_of
from evaluate.decoding.encoder_cache import EncoderCache, cached_encoder


def translate(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    max_new_tokens: int = 256,
    progress: Callable[[int], None] | None = None,
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
) -> list[str]:
    """One translation a segment. A batch that runs out of memory is halved and tried again, down to one segment.

    `encoder_cache` keeps the encoder's outputs under `encoder_key` (see `encoder_cache.encoder_key`); translations are
    the same with and without it. `progress` is called with the number of segments translated so far.
    """
    import torch

    tokenizer = tokenizer_of(processor)
    texts: dict[int, str] = {}
    queue = list(batches)
    while queue:
        batch = queue.pop(0)
        try:
            with torch.inference_mode(), cached_encoder(model, batch, encoder_cache, encoder_key):
                generated = model.generate(
                    **to_model(batch.inputs, model), do_sample=False, max_new_tokens=max_new_tokens
                )
        except torch.OutOfMemoryError:
            if len(batch.indices) == 1:
                raise
            torch.cuda.empty_cache()
            queue[:0] = halves(batch)
            continue
        prompt_length = batch.inputs["input_ids"].shape[1]
        tokens = [up_to_end(row, model) for row in generated[:, prompt_length:].tolist()]
        texts.update(zip(batch.indices, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True))
        if progress is not None:
            progress(len(texts))
    return [texts[index] for index in sorted(texts)]


def halves(batch: Batch) -> list[Batch]:
    """The batch as two smaller ones, for when memory runs out."""
    middle = len(batch.indices) // 2
    return [
        Batch(batch.indices[part], {name: tensor[part] for name, tensor in batch.inputs.items()})
        for part in (slice(0, middle), slice(middle, None))
    ]


def up_to_end(tokens: list[int], model: Any) -> list[int]:
    """Tokens up to the first end token; the padding behind it need not be a special token."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, (list, tuple)) else [ends]
    return tokens[: next((position for position, token in enumerate(tokens) if token in ends), len(tokens))]
