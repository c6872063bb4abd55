"""How far a candidate's outputs are from the original's: KL(original ‖ candidate) on the original's translations.

One forward pass a batch, no generation: the cheap measure for sensitivities. Of the original's distribution the top
K tokens are kept and the rest is one bucket, so the figure is a lower bound of the full KL and exactly 0 for the
original itself.

A candidate with a smaller vocabulary cannot say some tokens at all, and its KL would be infinite. With p̃ the
original's distribution over the tokens that stay, and m what it gives to them of 1, the figure is
KL(p̃ ‖ candidate) − log m: finite, the plain KL where nothing is lost, and log(1/m) for a model that says what the
original would say had it been forbidden the others. A token of a translation that goes is written in its pieces:
the place before it counts, the places inside it were never asked of the original and do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.decoding.batches import Batch, tokenizer_of
from evaluate.decoding.encoder_cache import EncoderCache, EncoderHook
from evaluate.decoding.placing import place

TOP = 32


class Smaller:
    """A trimmed vocabulary: `ids` are the old numbers of the tokens that stay, in order, `processor` is its own."""

    def __init__(self, ids: Sequence[int], processor: Any, old_processor: Any) -> None:
        import torch

        self.ids = torch.tensor([int(old) for old in ids])
        self.tokenizer, self._old = tokenizer_of(processor), tokenizer_of(old_processor)
        self._new = {int(old): new for new, old in enumerate(ids)}
        self._spelled: dict[int, list[int]] = {}

    def spell(self, old: int) -> list[int]:
        """A token in new numbers: itself, or the pieces it is written in now that it is gone."""
        if old in self._new:
            return [self._new[old]]
        if old not in self._spelled:
            name = self._old.convert_ids_to_tokens(old)
            pieces = self.tokenizer.backend_tokenizer.model.tokenize(name) if name else []
            self._spelled[old] = [piece.id for piece in pieces] or [self.tokenizer.pad_token_id]  # says nothing
        return self._spelled[old]


@dataclass(frozen=True)
class ReferenceLogits:
    """A batch with the original's translation appended, and what the original said at each of its tokens."""

    inputs: dict[str, Any]
    places: Any  # bool [batch, length]: positions whose next token is the original's
    top_tokens: Any  # int [tokens, TOP]
    top_log_probs: Any  # float [tokens, TOP]
    rest_log_prob: Any  # float [tokens]
    batch: Batch  # what is heard: the key to what the tower said of it before
    lost: float = 0.0  # Σ −log m over the places: nats that a smaller vocabulary loses whatever the candidate says


def append_translations(batch: Batch, processor: Any, texts: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Prompt and translation as one right-padded sequence, tokenised apart (jointly the ids would differ)."""
    tokenizer = tokenizer_of(processor)
    rows = [[[token] for token in written(tokenizer, texts[index])] for index in batch.indices]
    return _append(batch, rows, tokenizer.pad_token_id)


def written(tokenizer: Any, text: str) -> list[int]:
    """A translation as the tokens of it and the end."""
    return [*tokenizer(text).input_ids, tokenizer.eos_token_id]


def respelled(batch: Batch, processor: Any, texts: Sequence[str], smaller: Smaller) -> tuple[dict[str, Any], Any]:
    """As `append_translations`, in the numbers of a smaller vocabulary; places are those of the same tokens."""
    import torch

    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"].bool()
    prompts = [
        [piece for token in row[there].tolist() for piece in smaller.spell(token)]
        for row, there in zip(ids, mask, strict=True)
    ]
    longest, pad = max(map(len, prompts)), smaller.tokenizer.pad_token_id
    inputs = dict(batch.inputs)
    inputs["input_ids"] = torch.tensor([[pad] * (longest - len(row)) + row for row in prompts])
    inputs["attention_mask"] = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    tokenizer = tokenizer_of(processor)
    rows = [[smaller.spell(token) for token in written(tokenizer, texts[index])] for index in batch.indices]
    return _append(Batch(batch.indices, inputs), rows, pad)


def _append(batch: Batch, rows: Sequence[Sequence[Sequence[int]]], pad: int) -> tuple[dict[str, Any], Any]:
    """Rows of tokens, each in its pieces, behind the prompts; places are those before a token's first piece."""
    import torch

    prompt_ids, prompt_mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    longest = max(sum(map(len, row)) for row in rows)
    target = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=prompt_mask.dtype)
    first = torch.zeros((len(rows), longest), dtype=torch.bool)
    for row, tokens in enumerate(rows):
        pieces = [piece for token in tokens for piece in token]
        target[row, : len(pieces)] = torch.tensor(pieces)
        mask[row, : len(pieces)] = 1
        at = 0
        for token in tokens:
            first[row, at] = True
            at += len(token)
    inputs = dict(batch.inputs)
    inputs["input_ids"] = torch.cat([prompt_ids, target], dim=1)
    inputs["attention_mask"] = torch.cat([prompt_mask, mask], dim=1)
    places = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    start = prompt_ids.shape[1] - 1
    places[:, start : start + longest] = first
    return inputs, places


def log_probs(model: Any, inputs: dict[str, Any], places: Any, ear: EncoderHook) -> Any:
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
    tower: EncoderCache | None = None,
    encoder_key: str = "",
    smaller: Smaller | None = None,
) -> list[ReferenceLogits]:
    """Runs the original once and keeps what it said. `tower` as in evaluate.translate.

    With `smaller` what is kept is for candidates of that vocabulary; the original has its own all the same.
    """
    kept = []
    for batch in batches:
        inputs, places = append_translations(batch, processor, texts)
        said = log_probs(model, inputs, places, EncoderHook(model, batch, tower, encoder_key))
        lost = 0.0
        if smaller is not None:
            inputs, places = respelled(batch, processor, texts, smaller)
            said = said[:, smaller.ids.to(said.device)]
            stays = said.logsumexp(dim=-1, keepdim=True)
            said, lost = said - stays, max(-float(stays.double().sum()), 0.0)
        top = said.topk(min(TOP, said.shape[-1] - 1), dim=-1)
        kept.append(ReferenceLogits(inputs, places, top.indices, top.values, log_rest(top.values), batch, lost))
    return kept


def divergence(
    model: Any, taught: Sequence[ReferenceLogits], tower: EncoderCache | None = None, encoder_key: str = ""
) -> float:
    """Mean KL in nats a token; NaN if the candidate's outputs are not numbers."""
    total, count = 0.0, 0
    for batch in taught:
        said = log_probs(model, batch.inputs, batch.places, EncoderHook(model, batch.batch, tower, encoder_key))
        top = said.gather(-1, batch.top_tokens)
        kl = (batch.top_log_probs.exp() * (batch.top_log_probs - top)).sum(-1)
        kl = kl + batch.rest_log_prob.exp() * (batch.rest_log_prob - log_rest(top))
        total += float(kl.sum()) + batch.lost
        count += kl.numel()
    return total / count
