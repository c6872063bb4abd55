"""Hidden states: which is matched with which, no distance to oneself, and that learning closes the distance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from compress.errors import UserError
from compress.recovery.batches import output_of, pieces
from compress.recovery.loop import Training
from compress.recovery.matching import StateMatch, places_in
from compress.recovery.settings import TrainingSettings
from tests.compress.recovery.lessons import batch, batches, tiny_lm

HIDDEN = TrainingSettings(epochs=4, learning_rate=3e-3, checkpoint_every=4, hidden=10.0)


def apart(match: StateMatch, student: Any, of: Any) -> float:
    with torch.no_grad():
        return float(match.apart(output_of(student, of, states=True).hidden_states, of))


def without(model: Any, *dropped: int) -> Any:
    """The same weights without some layers."""
    from torch import nn

    model.model.layers = nn.ModuleList(layer for i, layer in enumerate(model.model.layers) if i not in dropped)
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = i
    model.config.num_hidden_layers = len(model.model.layers)
    return model


def test_layers_are_matched_with_themselves_and_the_last_with_what_the_head_sees() -> None:
    assert StateMatch.of(None, 4, ()).pairs == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))
    assert StateMatch.of(None, 6, (2, 3)).pairs == ((0, 0), (1, 1), (2, 2), (3, 5), (4, 6))
    assert StateMatch.of(None, 4, (3,)).pairs == ((0, 0), (1, 1), (2, 2), (3, 4))
    with pytest.raises(UserError, match="without layers"):
        StateMatch.of(None, 2, (0, 1))


def test_a_teacher_is_at_no_distance_from_itself_and_padding_does_not_count() -> None:
    teacher, one = tiny_lm(layers=4), batch(rows=3)
    match = StateMatch.of(teacher, 4, ())
    assert apart(match, teacher, one) == 0.0
    other = tiny_lm(1, layers=4)
    found = apart(match, other, one)
    assert found > 0.1 * places_in(one)
    padded = {**one, "input_ids": torch.where(one["attention_mask"].bool(), one["input_ids"], 7)}
    assert apart(match, other, padded) == pytest.approx(found, rel=1e-4)
    assert sum(apart(match, other, piece) for piece in pieces(one, 1)) == pytest.approx(found, rel=1e-4)


def test_a_shortened_model_comes_nearer_to_its_teacher_than_without() -> None:
    teacher, lessons = tiny_lm(layers=4), batches()
    found = []
    for hidden in (0.0, 10.0):
        student = without(tiny_lm(layers=4), 1, 2)
        match = StateMatch.of(teacher, 4, (1, 2))
        before = apart(match, student, lessons[0])
        Training(student, dict(student.named_parameters()), lessons, replace(HIDDEN, hidden=hidden), match=match).run()
        found.append(apart(match, student, lessons[0]) / before)
    assert found[1] < 0.8
    assert found[1] < found[0] - 0.1


def test_smaller_pieces_give_the_same_step() -> None:
    teacher, one = tiny_lm(1, layers=3), batch(rows=4)
    gradients = []
    for rows in (None, 1, 3):
        student = tiny_lm(layers=3)
        training = Training(
            student, {"w": student.lm_head.weight, "n": student.model.norm.weight}, [one],
            replace(HIDDEN, learning_rate=0.0, clip=1e9), match=StateMatch.of(teacher, 3, ()),
        )  # fmt: skip
        training._rows = rows
        training._take_step()
        gradients.append(student.model.norm.weight.grad.clone())
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
    assert torch.allclose(gradients[0], gradients[2], rtol=1e-3, atol=1e-5)


def test_states_without_a_teacher_or_of_another_size_are_refused() -> None:
    student = tiny_lm()
    with pytest.raises(UserError, match="needs a teacher"):
        Training(student, {"w": student.lm_head.weight}, batches(), HIDDEN)
    states = tuple(torch.zeros(4, 11, 16) for _ in range(3))
    with pytest.raises(UserError, match="another size"):
        StateMatch.of(tiny_lm(), 2, ()).apart(states, batch())
