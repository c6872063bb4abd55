"""Translations of earlier candidates as drafts of this one's: one forward pass confirms what would take dozens.

Candidates of a search translate most segments alike. So a known translation is put behind the prompt, the model says
in one pass what it would have written at each place, and as far as it agrees the tokens are its own (speculative
decoding, Leviathan et al. 2023, with other candidates as the draft model). Where it leaves the draft, another known
translation with that beginning is tried, and else it writes on by itself.

A pass over many tokens and a pass token by token differ in the last bits. Where the best two tokens lie closer
together than that can turn round (TIE), nothing is decided: the batch is translated in the plain way. In 16 bits such
places are everywhere, so drafts are for float32 only, and without effect elsewhere.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from evaluate.decoding.batches import Batch, tokenizer_of
from evaluate.decoding.encoder_cache import EncoderHook
from evaluate.decoding.placing import place

TIE = 2e-5  # of the largest logit: tens of times the difference between the two kinds of pass
PATIENCE = 3  # passes in a row that may win a single token before a translation is written on instead
IN_COMMON = 3  # tokens looked for in known translations to go on behind them
GROUP = 16  # rows of like length confirmed at once: less padding
PLAIN = {  # what greedy decoding must not be bent by, in a generation config
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "guidance_scale": 1.0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "watermarking_config": None,
    "stop_strings": None,
}


class Drafts:
    """Translations known for each prompt, as tokens, the most frequent offered first."""

    def __init__(self, limit: int = 20_000, each: int = 16) -> None:
        self.limit, self.each = limit, each
        self.confirmed = self.written = self.ties = 0
        self._known: OrderedDict[str, Counter[tuple[int, ...]]] = OrderedDict()

    def add(self, row: str, tokens: tuple[int, ...]) -> None:
        known = self._known.setdefault(row, Counter())
        self._known.move_to_end(row)
        known[tokens] += 1
        if len(known) > self.each:
            del known[min(known, key=lambda each: (each == tokens, known[each]))]
        if len(self._known) > self.limit:
            self._known.popitem(last=False)

    def offer(self, row: str, prefix: tuple[int, ...]) -> tuple[int, ...] | None:
        """The most frequent translation that begins with the prefix and goes on."""
        fitting = [
            tokens
            for tokens in self._known.get(row, ())
            if len(tokens) > len(prefix) and tokens[: len(prefix)] == prefix
        ]
        return max(fitting, key=lambda tokens: (self._known[row][tokens], tokens)) if fitting else None

    def spliced(self, row: str, written: tuple[int, ...]) -> tuple[int, ...]:
        """What is written, and how a known translation goes on behind the last tokens of it, wherever they stand there.

        The longer the tokens in common the better, then the nearer; without any, a word was replaced and the rest of
        the most frequent translation follows.
        """
        known = sorted(self._known[row], key=lambda tokens: -self._known[row][tokens])
        for length in range(IN_COMMON, 0, -1):
            for tokens in known:
                ends = [
                    end
                    for end in range(length, len(tokens))
                    if tokens[end - length : end] == written[-length:] and length <= len(written)
                ]
                if ends:
                    return (*written, *tokens[min(ends, key=lambda end: abs(end - len(written))) :])
        return (*written, *known[0][len(written) :])


class Tie(Exception):
    """Two tokens are too close together to be told apart in another kind of pass."""


def usable(model: Any) -> bool:
    """Whether a pass over many tokens decides what plain greedy decoding decides."""
    import torch

    if model.dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32:
        return False
    config = model.generation_config
    found = {name: getattr(config, name, plain) for name, plain in PLAIN.items()}
    return all(found[name] in (plain, None) for name, plain in PLAIN.items())


def ends_of(model: Any) -> tuple[int, ...]:
    ends = model.generation_config.eos_token_id
    return tuple(ends) if isinstance(ends, (list, tuple)) else (ends,)


def cut(tokens: Sequence[int], ends: Sequence[int], limit: int) -> tuple[int, ...]:
    """Up to and with the first end token, and no longer than the limit."""
    for position, token in enumerate(tokens[:limit]):
        if token in ends:
            return tuple(tokens[: position + 1])
    return tuple(tokens[:limit])


def translate_drafted(
    model: Any, processor: Any, batch: Batch, limit: int, drafts: Drafts, ear: EncoderHook
) -> list[tuple[int, ...]] | None:
    """Tokens of every row, or None where plain decoding has to do it: no drafts yet, or a tie."""
    rows = range(len(batch.indices))
    ends = ends_of(model)
    written: dict[int, tuple[int, ...]] = dict.fromkeys(rows, ())
    offered = {row: draft[:limit] for row in rows if (draft := drafts.offer(batch.row_digests[row], ()))}
    if not offered:
        return None
    open_rows, patience = list(rows), dict.fromkeys(rows, PATIENCE)
    try:
        while offered:
            for row, own in confirm(model, processor, batch, offered, ear):
                before = written[row]
                written[row] = agreed(own, offered.pop(row), before, ends, limit)
                patience[row] = PATIENCE if len(written[row]) - len(before) > 1 else patience[row] - 1
                if patience[row] and not _ended(written[row], ends, limit):
                    digest = batch.row_digests[row]
                    next_draft = drafts.offer(digest, written[row]) or drafts.spliced(digest, written[row])
                    if len(next_draft) > len(written[row]):
                        offered[row] = next_draft[:limit]
            open_rows = [row for row in open_rows if not _ended(written[row], ends, limit)]
        if open_rows:
            tails = write_on(model, processor, batch, [written[row] for row in open_rows], open_rows, ear, limit)
            for row, tail in zip(open_rows, tails, strict=True):
                written[row] = cut((*written[row], *tail), ends, limit)
    except Tie:
        drafts.ties += 1
        return None
    drafts.confirmed += len(rows) - len(open_rows)
    drafts.written += len(open_rows)
    return [written[row] for row in rows]


def _ended(tokens: tuple[int, ...], ends: Sequence[int], limit: int) -> bool:
    return len(tokens) >= limit or (bool(tokens) and tokens[-1] in ends)


def agreed(
    own: Sequence[tuple[int, bool]],
    draft: tuple[int, ...],
    before: tuple[int, ...],
    ends: Sequence[int],
    limit: int,
) -> tuple[int, ...]:
    """What the model itself writes: the draft as far as it agrees, and its own token where it leaves it.

    `own` holds what the model would write at each place of the draft and behind it, and whether that is sure.
    """
    tokens = list(before)
    for position in range(len(before), len(own)):
        token, sure = own[position]
        if not sure:
            raise Tie
        tokens.append(token)
        if position >= len(draft) or token != draft[position] or token in ends or len(tokens) >= limit:
            break
    return tuple(tokens)


def confirm(
    model: Any, processor: Any, batch: Batch, drafts: Mapping[int, tuple[int, ...]], ear: EncoderHook
) -> list[tuple[int, list[tuple[int, bool]]]]:
    """For each row the token the model would write at every place of its draft and one behind, and whether it is sure.

    The first time round the whole batch goes through, so that the tower hears what it hears without drafts.
    """
    import torch

    count = len(batch.indices)
    groups: list[list[int]] = [list(range(count))]
    if ear.knows:
        prompts = batch.inputs["attention_mask"].sum(-1).tolist()
        rows = sorted(drafts, key=lambda row: (prompts[row] + len(drafts[row]), row))
        groups = [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]
    found = []
    for rows in groups:
        tokens = [drafts.get(row, ()) for row in rows]
        inputs, start = append_tokens(batch, tokens, tokenizer_of(processor).pad_token_id, rows)
        with torch.inference_mode(), ear.hearing(rows if ear.knows else None):
            logits = model(**place(inputs, model), use_cache=False).logits[:, start:].float()
        best = logits.topk(2, dim=-1)
        sure = (best.values[..., 0] - best.values[..., 1] > TIE * logits.abs().amax(-1)).cpu().tolist()
        own = best.indices[..., 0].cpu().tolist()
        found += [
            (row, list(zip(own[n], sure[n], strict=True))[: len(drafts[row]) + 1])
            for n, row in enumerate(rows)
            if row in drafts
        ]
    return found


def write_on(
    model: Any,
    processor: Any,
    batch: Batch,
    begun: Sequence[tuple[int, ...]],
    rows: Sequence[int],
    ear: EncoderHook,
    limit: int,
) -> list[list[int]]:
    """Plain decoding behind what each row has written so far."""
    import torch

    inputs = behind_prompt(batch, begun, tokenizer_of(processor).pad_token_id, rows)
    most = max(limit - len(tokens) for tokens in begun)
    with torch.inference_mode(), ear.hearing(rows):
        found = model.generate(
            **place(inputs, model),
            do_sample=False,
            max_new_tokens=most,
            return_dict_in_generate=True,
            output_logits=True,
        )
    tails = found.sequences[:, inputs["input_ids"].shape[1] :].cpu().tolist()
    ends = ends_of(model)
    lengths = torch.tensor([len(cut(tail, ends, most)) for tail in tails])
    for step, logits in enumerate(found.logits):
        best = logits.float().topk(2, dim=-1).values
        sure = (best[:, 0] - best[:, 1] > TIE * logits.float().abs().amax(-1)).cpu()
        if not bool(sure[lengths > step].all()):
            raise Tie
    return tails


def append_tokens(
    batch: Batch, tokens: Sequence[Sequence[int]], pad: int, rows: Sequence[int] | None = None
) -> tuple[dict[str, Any], int]:
    """Prompt and tokens as one sequence, padded at both ends, and the place that predicts the first token."""
    import torch

    inputs = dict(batch.inputs) if rows is None else {name: value[list(rows)] for name, value in batch.inputs.items()}
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    longest = max(map(len, tokens))
    tail = torch.full((len(tokens), longest), pad, dtype=ids.dtype)
    tail_mask = torch.zeros((len(tokens), longest), dtype=mask.dtype)
    for row, written in enumerate(tokens):
        tail[row, : len(written)] = torch.tensor(written, dtype=ids.dtype)
        tail_mask[row, : len(written)] = 1
    inputs["input_ids"] = torch.cat([ids, tail], dim=1)
    inputs["attention_mask"] = torch.cat([mask, tail_mask], dim=1)
    empty = int((inputs["attention_mask"].sum(0) == 0).cumprod(0).sum())  # columns that only pad
    for name in ("input_ids", "attention_mask"):
        inputs[name] = inputs[name][:, empty:]
    inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return inputs, ids.shape[1] - 1 - empty


def behind_prompt(batch: Batch, tokens: Sequence[Sequence[int]], pad: int, rows: Sequence[int]) -> dict[str, Any]:
    """Prompt and tokens left-padded, so that generation can go on."""
    import torch

    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"].bool()
    lines = [[*ids[row][mask[row]].tolist(), *written] for row, written in zip(rows, tokens, strict=True)]
    longest = max(map(len, lines))
    inputs = {name: value[list(rows)] for name, value in batch.inputs.items()}
    inputs["input_ids"] = torch.tensor([[pad] * (longest - len(line)) + line for line in lines])
    inputs["attention_mask"] = torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines])
    return inputs
