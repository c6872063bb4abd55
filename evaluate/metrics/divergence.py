"""KL(original ‖ candidate) on the original's own translations: a cheap measure of damage, without generation.

One forward pass a batch. Of the original's distribution the top K tokens are kept and the rest is one bucket, so the
figure is a lower bound of the full KL, and exactly 0 for the original itself.

A candidate with a trimmed vocabulary cannot produce some tokens, and its KL would be infinite. With p̃ the original's
distribution renormalised over the kept tokens, and m their share of it, the figure is KL(p̃ ‖ candidate) − log m:
finite, the plain KL where nothing is lost, and log(1/m) for a model that equals p̃. A translation's token that was
trimmed is spelled in pieces: the position before it counts, positions inside it do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress.memory import FittingRows
from compress.model.head import logits_at
from compress.tensors import to_model
from evaluate.decoding.batches import Batch, append_completions, pad, split_batches, tokenizer_of
from evaluate.decoding.encoder_cache import EncoderCache, cached_encoder

TOP = 32


class TokenMap:
    """From a vocabulary to a trimmed one. `ids` are the old ids of the kept tokens, in their new order."""

    def __init__(self, ids: Sequence[int], processor: Any, old_processor: Any) -> None:
        import torch

        self.ids = torch.tensor([int(old) for old in ids])
        self.tokenizer, self._old_tokenizer = tokenizer_of(processor), tokenizer_of(old_processor)
        self._new = {int(old): [new] for new, old in enumerate(ids)}

    def pieces(self, old: int) -> list[int]:
        """New ids of an old token: itself, or the pieces that spell it if it was trimmed."""
        if old not in self._new:
            token = self._old_tokenizer.convert_ids_to_tokens(old)
            pieces = self.tokenizer.backend_tokenizer.model.tokenize(token) if token else []
            self._new[old] = [piece.id for piece in pieces] or [self.tokenizer.pad_token_id]
        return self._new[old]


@dataclass(frozen=True)
class ReferenceLogits:
    """A batch with the original's translations appended, and the original's distribution at each of their tokens."""

    inputs: dict[str, Any]
    positions: Any  # bool [rows, length]: those that predict a token of the original's translation
    top_tokens: Any  # int [tokens, TOP]
    top_log_probs: Any  # float [tokens, TOP]
    rest_log_prob: Any  # float [tokens]
    batch: Batch  # without the translations: names the audio for the encoder cache
    lost_nats: float = 0.0  # Σ −log m over the positions, what a trimmed vocabulary loses whatever the candidate

    def split(self, rows: int) -> list[ReferenceLogits]:
        """In pieces of at most so many rows."""
        pieces, token = [], 0
        starts = range(0, len(self.batch.indices), rows)
        for start, batch in zip(starts, split_batches([self.batch], rows), strict=True):
            part = slice(start, start + rows)
            tokens = slice(token, token + int(self.positions[part].sum()))
            token = tokens.stop
            pieces.append(
                ReferenceLogits(
                    {name: value[part] for name, value in self.inputs.items()},
                    self.positions[part],
                    self.top_tokens[tokens],
                    self.top_log_probs[tokens],
                    self.rest_log_prob[tokens],
                    batch,
                    0.0 if start else self.lost_nats,
                )
            )
        return pieces


def append_translations(batch: Batch, processor: Any, texts: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Inputs with translations behind the prompts, and the positions that predict them.

    Prompt and translation are tokenised apart: tokenised together their ids would differ.
    """
    tokenizer = tokenizer_of(processor)
    targets = [[[token] for token in target_tokens(tokenizer, texts[index])] for index in batch.indices]
    return _append(batch.inputs, targets, tokenizer.pad_token_id)


def append_mapped_translations(
    batch: Batch, processor: Any, texts: Sequence[str], token_map: TokenMap
) -> tuple[dict[str, Any], Any]:
    """As `append_translations`, in ids of the trimmed vocabulary; the positions are those of the same tokens."""
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"].bool()
    prompts = [
        [piece for token in row[inside].tolist() for piece in token_map.pieces(token)]
        for row, inside in zip(ids, mask, strict=True)
    ]
    padding = token_map.tokenizer.pad_token_id
    prompt_ids, prompt_mask = pad(prompts, padding, "left")
    tokenizer = tokenizer_of(processor)
    targets = [[token_map.pieces(token) for token in target_tokens(tokenizer, texts[index])] for index in batch.indices]
    return _append({**batch.inputs, "input_ids": prompt_ids, "attention_mask": prompt_mask}, targets, padding)


def target_tokens(tokenizer: Any, text: str) -> list[int]:
    """A translation's token ids and the end token."""
    return [*tokenizer(text).input_ids, tokenizer.eos_token_id]


def _append(
    inputs: dict[str, Any], targets: Sequence[Sequence[Sequence[int]]], padding: int
) -> tuple[dict[str, Any], Any]:
    """Rows of tokens, each token in its pieces, behind the prompts; positions are those before a first piece."""
    import torch

    extended = append_completions(inputs, [[piece for token in row for piece in token] for row in targets], padding)
    positions = torch.zeros_like(extended["input_ids"], dtype=torch.bool)
    for row, tokens in enumerate(targets):
        position = inputs["input_ids"].shape[1] - 1
        for token in tokens:
            positions[row, position] = True
            position += len(token)
    return extended, positions


def log_probs_at(
    model: Any, inputs: dict[str, Any], positions: Any, batch: Batch, cache: EncoderCache | None, encoder_key: str
) -> Any:
    """The model's log-probabilities at the positions, float32 [tokens, vocabulary]."""
    import torch

    with torch.inference_mode(), cached_encoder(model, batch, cache, encoder_key):
        return torch.log_softmax(logits_at(model, to_model(inputs, model), positions).float(), dim=-1)


def log_rest(top: Any) -> Any:
    """log(1 − Σ top), floored where the top holds everything."""
    import torch

    return torch.log1p(-torch.exp(torch.logsumexp(top, dim=-1)).clamp(max=1 - 1e-7))


def reference_logits(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    texts: Sequence[str],
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
    token_map: TokenMap | None = None,
    fitting: FittingRows | None = None,
) -> list[ReferenceLogits]:
    """Runs the original once on its translations `texts` and keeps its distributions.

    With `token_map` they are for candidates of the trimmed vocabulary; the original runs with its own all the same.
    The encoder cache is used as in `translate`. What runs out of memory is tried again with half the rows.
    """
    references: list[ReferenceLogits] = []

    def work(rows: int) -> None:
        done = {index for reference in references for index in reference.batch.indices}
        for batch in split_batches(batches, rows, without=done):
            references.append(_reference(model, processor, batch, texts, encoder_cache, encoder_key, token_map))

    (fitting or FittingRows()).run(work, max(len(batch.indices) for batch in batches))
    return references


def _reference(
    model: Any,
    processor: Any,
    batch: Batch,
    texts: Sequence[str],
    encoder_cache: EncoderCache | None,
    encoder_key: str,
    token_map: TokenMap | None,
) -> ReferenceLogits:
    """That of one batch."""
    inputs, positions = append_translations(batch, processor, texts)
    log_probs = log_probs_at(model, inputs, positions, batch, encoder_cache, encoder_key)
    lost_nats = 0.0
    if token_map is not None:
        inputs, positions = append_mapped_translations(batch, processor, texts, token_map)
        log_probs = log_probs[:, token_map.ids.to(log_probs.device)]
        log_share = log_probs.logsumexp(dim=-1, keepdim=True)
        log_probs, lost_nats = log_probs - log_share, max(-float(log_share.double().sum()), 0.0)
    top = log_probs.topk(min(TOP, log_probs.shape[-1] - 1), dim=-1)
    return ReferenceLogits(inputs, positions, top.indices, top.values, log_rest(top.values), batch, lost_nats)


def divergence(
    model: Any,
    references: Sequence[ReferenceLogits],
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
    fitting: FittingRows | None = None,
) -> float:
    """Mean KL in nats a token; NaN if the candidate's outputs are not finite."""

    def work(rows: int) -> float:
        total, count = 0.0, 0
        for reference in (piece for each in references for piece in each.split(rows)):
            log_probs = log_probs_at(
                model, reference.inputs, reference.positions, reference.batch, encoder_cache, encoder_key
            )
            top = log_probs.gather(-1, reference.top_tokens)
            kl = (reference.top_log_probs.exp() * (reference.top_log_probs - top)).sum(-1)
            kl = kl + reference.rest_log_prob.exp() * (reference.rest_log_prob - log_rest(top))
            total += float(kl.sum()) + reference.lost_nats
            count += kl.numel()
        return total / count

    return (fitting or FittingRows()).run(work, max(len(reference.batch.indices) for reference in references))
