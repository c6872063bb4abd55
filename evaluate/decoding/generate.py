"""Batches → translations, greedily, in the order of the data. As a command: `python -m evaluate.translate --help`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evaluate.decoding.batches import Batch, tokenizer_of
from evaluate.decoding.drafts import Drafts, cut, ends_of, translate_drafted, usable
from evaluate.decoding.encoder_cache import EncoderCache, EncoderHook
from evaluate.decoding.placing import place

__all__ = ["halves", "place", "translate"]


def halves(batch: Batch) -> list[Batch]:
    """The batch as two smaller ones, for when memory runs out."""
    middle = len(batch.indices) // 2
    return [
        Batch(batch.indices[part], {name: tensor[part] for name, tensor in batch.inputs.items()})
        for part in (slice(0, middle), slice(middle, None))
    ]


def translate(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    max_new_tokens: int = 256,
    progress: Callable[[int], None] | None = None,
    tower: EncoderCache | None = None,
    encoder_key: str = "",
    drafts: Drafts | None = None,
) -> list[str]:
    """One translation a segment. Out of memory halves the batch and goes on; a single segment too large is an error.

    `tower` keeps what the audio tower heard, under `encoder_key`; `drafts` keeps the
    translations of earlier candidates. With or without either the translations are the same.
    """
    import torch

    tokenizer = tokenizer_of(processor)
    found: dict[int, str] = {}
    queue = list(batches)
    while queue:
        batch = queue.pop(0)
        try:
            tokens = _translate_batch(model, processor, batch, max_new_tokens, tower, encoder_key, drafts)
        except torch.OutOfMemoryError:
            if len(batch.indices) == 1:
                raise
            torch.cuda.empty_cache()
            queue[:0] = halves(batch)
            continue
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        found.update(zip(batch.indices, texts, strict=True))
        if progress is not None:
            progress(len(found))
    return [found[index] for index in sorted(found)]


def _translate_batch(
    model: Any,
    processor: Any,
    batch: Batch,
    max_new_tokens: int,
    tower: EncoderCache | None,
    encoder_key: str,
    drafts: Drafts | None,
) -> list[tuple[int, ...]]:
    """Tokens of every row, up to and with the end token."""
    import torch

    ear = EncoderHook(model, batch, tower, encoder_key)
    drafting = drafts is not None and usable(model)
    tokens = None
    if drafts is not None and drafting:
        tokens = translate_drafted(model, processor, batch, max_new_tokens, drafts, ear)
    if tokens is None:
        with torch.inference_mode(), ear.hearing():
            written = model.generate(**place(batch.inputs, model), do_sample=False, max_new_tokens=max_new_tokens)
        ends = ends_of(model)
        prompt_length = batch.inputs["input_ids"].shape[1]
        tokens = [cut(row, ends, max_new_tokens) for row in written[:, prompt_length:].tolist()]
    if drafts is not None and drafting:
        for row, row_tokens in zip(batch.row_digests, tokens, strict=True):
            drafts.add(row, row_tokens)
    return tokens
