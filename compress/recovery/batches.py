"""Batches: what a model takes, labels for its completions, and what a teacher says of them.

A batch is a mapping of tensors whose first dimension is its rows: `labels`, what the model's forward takes, and perhaps
the teacher's word. Prompts end in the same column (padded on the left), completions are padded on the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compress.errors import UserError
from compress.recovery.losses import EXTRA, IGNORE, TOP_LOG_PROBS, TOP_TOKENS, first_completion

TOP = 32
Batch = Mapping[str, Tensor]


def rows_of(batch: Batch) -> int:
    return len(batch["labels"])


def pieces(batch: Batch, most: int | None) -> list[Batch]:
    """The batch in pieces of at most so many rows."""
    count = rows_of(batch)
    if most is None or count <= most:
        return [batch]
    return [{k: v[at : at + most] for k, v in batch.items()} for at in range(0, count, most)]


def check(batches: Any, what: str) -> None:
    """Refuse batches that teach nothing."""
    if not len(batches):
        raise UserError(f"there is no {what} data: give at least one batch")
    for batch in (batches[0],):
        if "labels" not in batch or not bool((batch["labels"][:, 1:] != IGNORE).any()):
            raise UserError(f"the {what} data has no completions to learn: every label is masked")


def placed(batch: Batch, model: Any) -> dict[str, Tensor]:
    """On the model's device, sound in its number format."""
    first = next(model.parameters())
    dtype = getattr(model, "dtype", first.dtype)
    return {
        name: value.to(first.device, dtype)
        if value.is_floating_point() and name != TOP_LOG_PROBS
        else value.to(first.device)
        for name, value in batch.items()
    }


def output_of(model: Any, batch: Batch, states: bool = False) -> Any:
    """Logits, and hidden states if `states`."""
    more = {"output_hidden_states": True} if states else {}
    return model(**{k: v for k, v in batch.items() if k not in EXTRA}, use_cache=False, **more)


def logits_of(model: Any, batch: Batch) -> Tensor:
    logits: Tensor = output_of(model, batch).logits
    return logits


@torch.no_grad()
def taught(teacher: Any, batch: Batch, top: int = TOP) -> dict[str, Tensor]:
    """The batch with the teacher's likeliest tokens at each place of the completions, and how likely they are."""
    here = placed(batch, teacher)
    start = first_completion(here["labels"])
    log_probs = torch.log_softmax(logits_of(teacher, here)[:, start - 1 : -1].float(), dim=-1)
    likely = log_probs.topk(min(top, log_probs.shape[-1] - 1), dim=-1)
    # float16 holds a log-probability to 0.1 %, half the memory of a large training set
    word = {TOP_TOKENS: likely.indices.to(torch.int32).cpu(), TOP_LOG_PROBS: likely.values.clamp(min=-6e4).half().cpu()}
    return {**batch, **word}


@torch.no_grad()
def on_policy(student: Any, teacher: Any, batch: Batch, max_new_tokens: int, top: int = TOP) -> dict[str, Tensor]:
    """The batch with completions of the student's own and what the teacher says of those (GKD)."""
    here = placed(batch, student)
    start = first_completion(here["labels"])
    prompt = {k: (v[:, :start] if k in ("input_ids", "attention_mask") else v) for k, v in here.items()}
    inputs = {k: v for k, v in prompt.items() if k not in EXTRA}
    made = student.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)[:, start:]
    ends = student.generation_config.eos_token_id
    ends = torch.tensor(ends if isinstance(ends, list) else [ends], device=made.device)
    ended = torch.isin(made, ends).cumsum(dim=1)
    inside = (ended == 0) | ((ended == 1) & torch.isin(made, ends))  # up to the first end and with it
    labels = torch.full((len(made), start + made.shape[1]), IGNORE, device=made.device)
    labels[:, start:] = torch.where(inside, made, IGNORE)
    new: dict[str, Tensor] = {k: v.cpu() for k, v in inputs.items()}
    new["input_ids"] = torch.cat([inputs["input_ids"], made], dim=1).cpu()
    new["attention_mask"] = torch.cat(
        [inputs["attention_mask"], inside.to(inputs["attention_mask"].dtype)], dim=1
    ).cpu()
    new["labels"] = labels.cpu()
    return taught(teacher, new, top)
