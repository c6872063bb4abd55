"""What recovery minimises, all as sums over tokens: a step that is cut into pieces then adds up to the whole.

Only completions count: labels are IGNORE everywhere else. A teacher is known by its K likeliest tokens at each place;
what is left of its distribution is one bucket more, for teacher and student alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.recovery.settings import TrainingSettings

IGNORE = -100
TOP_TOKENS, TOP_LOG_PROBS = "top_tokens", "top_log_probs"  # [rows, completion, K], for the last places of each row
EXTRA = ("labels", TOP_TOKENS, TOP_LOG_PROBS)  # of a batch, what is not for the model
_LEAST = -20.0  # of the rest's log-probability, which is 0 at worst


def tokens_in(batch: Mapping[str, Tensor]) -> int:
    """Tokens that count."""
    return int((batch["labels"][:, 1:] != IGNORE).sum())


def first_completion(labels: Tensor) -> int:
    """The column at which completions begin; prompts are padded on the left, so it is the same in all rows."""
    return int((labels != IGNORE).any(dim=0).nonzero()[0])


def at_completions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits that tell a token that counts, float32 [tokens, vocabulary], and those tokens."""
    wanted = labels[:, 1:]
    keep = wanted != IGNORE
    return logits[:, :-1][keep].float(), wanted[keep]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    predicted, wanted = at_completions(logits, labels)
    return F.cross_entropy(predicted, wanted, reduction="sum")


def buckets(log_probs: Tensor) -> Tensor:
    """Log-probabilities of the top and of all the rest, [tokens, K + 1]."""
    left = (1 - log_probs.exp().sum(-1, keepdim=True)).clamp(min=0)
    rest = torch.log(left + 1e-9).clamp(min=_LEAST)
    return torch.cat([log_probs, rest], dim=-1)


def divergence(logits: Tensor, batch: Mapping[str, Tensor], beta: float) -> Tensor:
    """From the teacher: beta 0 is KL(teacher ‖ student), 1 the reverse, between them GKD's Jensen-Shannon."""
    labels = batch["labels"]
    predicted, _ = at_completions(logits, labels)
    keep = labels[:, labels.shape[1] - batch[TOP_TOKENS].shape[1] :] != IGNORE
    tokens = batch[TOP_TOKENS][keep].long()
    teacher = buckets(batch[TOP_LOG_PROBS][keep].float())
    student = buckets(torch.log_softmax(predicted, dim=-1).gather(-1, tokens))
    return between(teacher, student, beta)


def between(teacher: Tensor, student: Tensor, beta: float) -> Tensor:
    """The same of two tables of log-probabilities."""
    if beta == 0:
        return kl(teacher, student)
    if beta == 1:
        return kl(student, teacher)
    mixed = torch.logaddexp(teacher + _log(beta), student + _log(1 - beta))
    return beta * kl(teacher, mixed) + (1 - beta) * kl(student, mixed)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p.exp() * (p - q)).sum()


def total(logits: Tensor, batch: Mapping[str, Tensor], settings: TrainingSettings) -> Tensor:
    """The loss of a batch as its settings weigh it. Without a teacher's word on it, cross-entropy alone."""
    taught = settings.distillation > 0 and TOP_TOKENS in batch
    loss = logits.new_zeros((), dtype=torch.float32)
    if settings.cross_entropy > 0 or not taught:
        loss = loss + (settings.cross_entropy or 1.0) * cross_entropy(logits, batch["labels"])
    if taught:
        loss = loss + settings.distillation * divergence(logits, batch, settings.beta)
    return loss


def _log(value: float) -> float:
    return float(torch.log(torch.tensor(value)))
