"""How far a candidate's outputs are from the original's: KL(original ‖ candidate) on the original's translations.

One forward pass a batch, no generation: the cheap measure for sensitivities. Of the original's distribution the top
K tokens are kept and the rest is one bucket, so the figure is a lower bound of the full KL and exactly 0 for the
original itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.batches import Batch, tokenizer_of
from evaluate.placing import place
from evaluate.tower import Ear, TowerCache

TOP = 32


@dataclass(frozen=True)
class Taught:
    """A batch with the original's translation appended, and what the original said at each of its tokens."""

    inputs: dict[str, Any]
    places: Any  # bool [batch, length]: positions whose next token is the original's
    top_tokens: Any  # int [tokens, TOP]
    top_log_probs: Any  # float [tokens, TOP]
    rest_log_prob: Any  # float [tokens]
    batch: Batch  # what is heard: the key to what the tower said of it before


def append_translations(batch: Batch, processor: Any, texts: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Prompt and translation as one right-padded sequence, tokenised apart (jointly the ids would differ)."""
    import torch

    tokenizer = tokenizer_of(processor)
    rows = [[*tokenizer(texts[index]).input_ids, tokenizer.eos_token_id] for index in batch.indices]
    longest = max(map(len, rows))
    prompt_ids, prompt_mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    target = torch.full((len(rows), longest), tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), longest), dtype=prompt_mask.dtype)
    for row, ids in enumerate(rows):
        target[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    inputs = dict(batch.inputs)
    inputs["input_ids"] = torch.cat([prompt_ids, target], dim=1)
    inputs["attention_mask"] = torch.cat([prompt_mask, mask], dim=1)
    places = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    start = prompt_ids.shape[1] - 1
    places[:, start : start + longest] = mask.bool()
    return inputs, places


def log_probs(model: Any, inputs: dict[str, Any], places: Any, ear: Ear) -> Any:
    import torch

    with torch.inference_mode(), ear.hearing():
        logits = model(**place(inputs, model), use_cache=False).logits
        return torch.log_softmax(logits[places.to(logits.device)].float(), dim=-1)


def log_rest(top: Any) -> Any:
    """log(1 − Σ top), floored where the top holds everything."""
    import torch

    return torch.log1p(-torch.exp(torch.logsumexp(top, dim=-1)).clamp(max=1 - 1e-7))


def teach(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    texts: Sequence[str],
    tower: TowerCache | None = None,
    tower_key: str = "",
) -> list[Taught]:
    """Runs the original once and keeps what it said. `tower` as in evaluate.translate."""
    kept = []
    for batch in batches:
        inputs, places = append_translations(batch, processor, texts)
        said = log_probs(model, inputs, places, Ear(model, batch, tower, tower_key))
        top = said.topk(min(TOP, said.shape[-1] - 1), dim=-1)
        kept.append(Taught(inputs, places, top.indices, top.values, log_rest(top.values), batch))
    return kept


def closeness(model: Any, taught: Sequence[Taught], tower: TowerCache | None = None, tower_key: str = "") -> float:
    """Mean KL in nats a token; NaN if the candidate's outputs are not numbers."""
    total, count = 0.0, 0
    for batch in taught:
        said = log_probs(model, batch.inputs, batch.places, Ear(model, batch.batch, tower, tower_key))
        top = said.gather(-1, batch.top_tokens)
        kl = (batch.top_log_probs.exp() * (batch.top_log_probs - top)).sum(-1)
        kl = kl + batch.rest_log_prob.exp() * (batch.rest_log_prob - log_rest(top))
        total += float(kl.sum())
        count += kl.numel()
    return total / count
