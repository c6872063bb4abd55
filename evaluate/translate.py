"""Batches → translations, greedily, in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evaluate.batches import Batch


def place(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    """Inputs on the model's device, sound in the model's number format."""
    return {
        name: tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)
        for name, tensor in inputs.items()
    }


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
) -> list[str]:
    """One translation a segment. Out of memory halves the batch and goes on; a single segment too large is an error."""
    import torch

    found: dict[int, str] = {}
    queue = list(batches)
    while queue:
        batch = queue.pop(0)
        try:
            with torch.inference_mode():
                tokens = model.generate(**place(batch.inputs, model), do_sample=False, max_new_tokens=max_new_tokens)
        except torch.OutOfMemoryError:
            if len(batch.indices) == 1:
                raise
            torch.cuda.empty_cache()
            queue[:0] = halves(batch)
            continue
        prompt_length = batch.inputs["input_ids"].shape[1]
        texts = processor.batch_decode(tokens[:, prompt_length:], skip_special_tokens=True)
        found.update(zip(batch.indices, texts, strict=True))
        if progress is not None:
            progress(len(found))
    return [found[index] for index in sorted(found)]
