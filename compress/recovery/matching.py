"""Matching a teacher's hidden states: what is learnt at every place of a sentence, prompt and sound included.

A student without some of its layers is held to what its teacher computes after the layers that are still there, so that
each learns its share of what went, instead of all of them learning from the last tokens alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compress.errors import UserError
from compress.recovery.batches import output_of, placed

LEAST = 1e-6  # of a squared norm that is divided by


@dataclass(frozen=True)
class StateMatch:
    """A teacher, and which of the student's hidden states (0: embeddings; n: after its n-th layer) is which of its."""

    teacher: Any
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, teacher: Any, layers: int, dropped: Iterable[int]) -> StateMatch:
        """For a student that is the teacher's like without some of its layers. What leaves the last is the head's."""
        left = sorted(set(range(layers)) - set(dropped))
        if not left:
            raise UserError("a model without layers has no hidden states to match")
        inner = tuple((place, layer + 1) for place, layer in enumerate(left[:-1], 1))
        return cls(teacher, ((0, 0), *inner, (len(left), layers)))

    def apart(self, states: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Squared distance over the squared norm of the teacher's, a mean over the pairs, a sum over the places."""
        with torch.no_grad():
            wanted = output_of(self.teacher, placed(batch, self.teacher), states=True).hidden_states
        counts = batch["attention_mask"].bool()
        distance = states[0].new_zeros((), dtype=torch.float32)
        for mine, its in self.pairs:
            student, teacher = states[mine][counts].float(), wanted[its].to(states[mine].device)[counts].float()
            if student.shape != teacher.shape:
                raise UserError("the teacher's hidden states are of another size: train with hidden=0")
            distance = (
                distance + ((student - teacher).square().sum(-1) / teacher.square().sum(-1).clamp(min=LEAST)).sum()
            )
        return distance / len(self.pairs)


def places_in(batch: Mapping[str, Tensor]) -> int:
    """Places that count: all but padding."""
    return int(batch["attention_mask"].sum())
