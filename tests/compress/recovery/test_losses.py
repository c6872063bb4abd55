"""Masks, sums that add up, and divergences that are zero for the teacher itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from compress.recovery.batches import logits_of, on_policy, pieces, taught
from compress.recovery.losses import (
    IGNORE,
    TOP_LOG_PROBS,
    TOP_TOKENS,
    between,
    buckets,
    cross_entropy,
    divergence,
    first_completion,
    tokens_in,
    total,
)
from compress.recovery.settings import TrainingSettings
from tests.compress.recovery.lessons import END, batch, tiny_lm


def test_prompt_tokens_are_masked_out_of_the_loss_and_of_the_gradient() -> None:
    one = batch()
    logits = torch.randn(*one["labels"].shape, 40, requires_grad=True)
    loss = cross_entropy(logits, one["labels"])
    expected = sum(
        float(F.cross_entropy(logits[row, place - 1], one["labels"][row, place], reduction="sum"))
        for row, place in (one["labels"] != IGNORE).nonzero().tolist()
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(-1) > 0
    tells = torch.zeros_like(touched)
    tells[:, :-1] = one["labels"][:, 1:] != IGNORE
    assert torch.equal(touched, tells)


def test_sums_over_pieces_are_the_sum_over_the_batch() -> None:
    model, settings_ = tiny_lm(), TrainingSettings(distillation=0.5, beta=0.3)
    one = taught(tiny_lm(1), batch(rows=5), top=8)
    whole = total(logits_of(model, one), one, settings_)
    parts = [total(logits_of(model, piece), piece, settings_) for piece in pieces(one, 2)]
    assert len(parts) == 3
    assert float(sum(parts)) == pytest.approx(float(whole), rel=1e-5)
    assert tokens_in(one) == sum(tokens_in(piece) for piece in pieces(one, 2))


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_the_teacher_does_not_diverge_from_itself_and_others_do(beta: float) -> None:
    teacher, student = tiny_lm(0), tiny_lm(1)
    one = taught(teacher, batch(), top=16)
    assert one[TOP_TOKENS].shape[2] == 16
    itself = float(divergence(logits_of(teacher, one), one, beta))
    assert itself == pytest.approx(0.0, abs=1e-3)
    assert float(divergence(logits_of(student, one), one, beta)) > 5 * abs(itself) + 1e-3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_divergences_are_never_negative(seed: int, beta: float) -> None:
    torch.manual_seed(seed)
    p, q = (torch.log_softmax(torch.randn(3, 9) * 4, -1)[:, :5] for _ in range(2))
    assert float(between(buckets(p), buckets(q), beta)) >= -1e-4
    assert buckets(p).exp().sum(-1) == pytest.approx(1.0, abs=1e-4)


def test_forward_kl_of_all_tokens_is_torchs() -> None:
    teacher, student = tiny_lm(0), tiny_lm(1)
    one = taught(teacher, batch(), top=40)  # all but one of the vocabulary, the last is the rest
    keep = one["labels"][:, 1:] != IGNORE
    said = torch.log_softmax(logits_of(student, one)[:, :-1][keep].float(), -1)
    wanted = torch.log_softmax(logits_of(teacher, one)[:, :-1][keep].float(), -1)
    full = F.kl_div(said, wanted, log_target=True, reduction="sum")
    assert float(divergence(logits_of(student, one), one, 0.0)) == pytest.approx(float(full), rel=1e-2)


def test_what_the_teacher_says_lies_at_the_completions() -> None:
    teacher, one = tiny_lm(0), batch()
    told = taught(teacher, one, top=3)
    start = first_completion(one["labels"])
    said = torch.log_softmax(logits_of(teacher, one), -1)
    assert told[TOP_LOG_PROBS].shape[1] == one["labels"].shape[1] - start
    assert torch.allclose(told[TOP_LOG_PROBS][2, 1].float(), said[2, start].topk(3).values, atol=1e-2)


def test_on_policy_batches_hold_what_the_student_writes() -> None:
    student, teacher = tiny_lm(3), tiny_lm(0)
    one = on_policy(student, teacher, batch(), max_new_tokens=4)
    start = first_completion(one["labels"])
    prompt = {k: v[:, :start] for k, v in batch().items() if k != "labels"}
    made = student.generate(**prompt, do_sample=False, max_new_tokens=4)[:, start:]
    for row in range(len(made)):
        counted = one["labels"][row, start:] != IGNORE
        assert torch.equal(one["labels"][row, start:][counted], made[row][counted])
        ends = (made[row] == END).nonzero()
        assert int(counted.sum()) == (int(ends[0]) + 1 if len(ends) else made.shape[1])
    assert TOP_TOKENS in one
