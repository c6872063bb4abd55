"""The loop: the loss falls, only what should train does, resuming and smaller pieces change nothing, NaN stops it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.recovery.batches import taught
from compress.recovery.loop import Training, halved
from compress.recovery.losses import IGNORE
from compress.recovery.settings import TrainingSettings
from tests.compress.recovery.lessons import batch, batches, tiny_lm
from tests.forked import start

QUICK = TrainingSettings(epochs=2, learning_rate=3e-3, checkpoint_every=4)


def everything(model: Any) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters())


def state(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_and_the_curve_tells_of_it() -> None:
    model = tiny_lm()
    outcome = Training(model, everything(model), batches(), replace(QUICK, epochs=5), batches(2)).run()
    held = [entry["held_out"] for entry in outcome.curve if "held_out" in entry]
    assert held[-1] < held[0] - 0.2
    assert [entry["step"] for entry in outcome.curve] == list(range(31))
    assert outcome.steps == 30
    assert not outcome.stopped


def test_only_what_is_named_trains() -> None:
    model = tiny_lm()
    before = state(model)
    norms = {name: value for name, value in model.named_parameters() if value.dim() == 1}
    Training(model, norms, batches(), QUICK).run()
    changed = {name for name, value in state(model).items() if not torch.equal(value, before[name])}
    assert changed == set(norms)


def test_gradients_of_a_first_step_are_those_of_the_mean_loss() -> None:
    model, one = tiny_lm(), batch()
    loss = model(**one).loss
    expected = torch.autograd.grad(loss, model.lm_head.weight)[0]
    training = Training(model, {"w": model.lm_head.weight}, [one], replace(QUICK, learning_rate=0.0, clip=1e9))
    training._take_step()
    assert torch.allclose(model.lm_head.weight.grad, expected, atol=1e-6)


def test_accumulated_batches_are_one_large_batch() -> None:
    rows = batch(rows=8)
    halves = [{k: v[:4] for k, v in rows.items()}, {k: v[4:] for k, v in rows.items()}]
    found = []
    for data, accumulate in (([rows], 1), (halves, 2)):
        model = tiny_lm()
        Training(model, everything(model), data, replace(QUICK, accumulate=accumulate, epochs=3)).run()
        found.append(state(model))
    assert all(torch.allclose(found[0][n], found[1][n], atol=2e-5) for n in found[0])


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_a_resumed_run_ends_with_the_same_numbers(stop: int, tmp_path: Path) -> None:
    data = [taught(tiny_lm(7), one, 8) for one in batches()]
    settings = replace(QUICK, distillation=1.0, warmup=0.1)
    whole = tiny_lm()
    first = Training(whole, everything(whole), data, settings, batches(1)).run()
    part = tiny_lm()
    Training(part, everything(part), data, settings, batches(1), tmp_path).run(stop_at=stop)
    again = tiny_lm()  # a new process has the untrained model
    second = Training(again, everything(again), data, settings, batches(1), tmp_path).run()
    assert same(state(whole), state(again))
    assert [(e["step"], e["loss"]) for e in first.curve] == [(e["step"], e["loss"]) for e in second.curve]
    assert len(list(tmp_path.iterdir())) == 1


def train_and_tell(folder: Path, killed_at: int) -> None:
    """Trains in a process of its own, which dies at a step, or tells the sum of the parameters."""

    def die(entry: dict[str, Any]) -> None:
        if entry["step"] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    model = tiny_lm()
    Training(model, everything(model), batches(), QUICK, batches(1), folder / "run", say=die).run()
    (folder / "sum").write_text(total(model))


def total(model: Any) -> str:
    return float(sum(float(p.double().sum()) for p in model.parameters())).hex()


def test_a_process_killed_with_minus_nine_resumes_to_the_same_result(tmp_path: Path) -> None:
    killed = start(train_and_tell, tmp_path, 6)
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    assert [folder.name for folder in (tmp_path / "run").iterdir()] == ["checkpoint-00000004"]
    assert not (tmp_path / "sum").exists()
    start(train_and_tell, tmp_path, -1).join(300)
    torch.set_num_threads(1)
    model = tiny_lm()
    Training(model, everything(model), batches(), QUICK, batches(1)).run()
    assert (tmp_path / "sum").read_text() == total(model)


def test_checkpoints_are_safetensors_and_json(tmp_path: Path) -> None:
    model = tiny_lm()
    Training(model, everything(model), batches(), QUICK, batches(1), tmp_path).run()
    names = {file.name for file in next(tmp_path.iterdir()).iterdir()}
    assert names == {"state.json", "trained.safetensors", "optimiser.safetensors", "best.safetensors"}


def test_other_settings_or_damage_are_refused(tmp_path: Path) -> None:
    model = tiny_lm()
    Training(model, everything(model), batches(), QUICK, folder=tmp_path).run(stop_at=4)
    with pytest.raises(UserError, match="other settings"):
        Training(model, everything(model), batches(), replace(QUICK, seed=1), folder=tmp_path).run()
    (next(tmp_path.iterdir()) / "trained.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="damaged checkpoint"):
        Training(model, everything(model), batches(), QUICK, folder=tmp_path).run()


class Poisoned(nn.Module):
    """Gives NaN from its n-th training forward on."""

    def __init__(self, inner: Any, after: int) -> None:
        super().__init__()
        self.inner, self.left = inner, after

    def forward(self, **inputs: Any) -> Any:
        out = self.inner(**inputs)
        if torch.is_grad_enabled():
            self.left -= 1
            if self.left < 0:
                out.logits = out.logits * float("nan")
        return out


@pytest.mark.parametrize("folder", [True, False])
def test_nan_stops_and_keeps_the_last_good_state(folder: bool, tmp_path: Path) -> None:
    good = tiny_lm()
    settings = replace(QUICK, keep_best=False)
    Training(good, everything(good), batches(), settings).run(stop_at=4)
    model = tiny_lm()
    poisoned = Poisoned(model, after=6)
    outcome = Training(
        poisoned, everything(model), batches(), settings, folder=tmp_path / "run" if folder else None
    ).run()
    assert "loss is nan at step 7; the state of step 4 is kept" in outcome.stopped
    assert (outcome.steps, outcome.kept) == (6, 4)
    assert same(state(model), state(good))


class Small(nn.Module):
    """Runs out of memory with more rows than it has room for."""

    def __init__(self, inner: Any, room: int, how: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.inner, self.room, self.how = inner, room, how
        self.seen: list[int] = []

    def forward(self, **inputs: Any) -> Any:
        rows = len(inputs["input_ids"])
        self.seen.append(rows)
        if rows > self.room:
            raise self.how("DefaultCPUAllocator: can't allocate memory")
        return self.inner(**inputs)


@pytest.mark.parametrize("how", [torch.OutOfMemoryError, RuntimeError])
def test_too_little_memory_halves_the_batch_and_changes_nothing(how: type[RuntimeError]) -> None:
    data = [batch(rows=8, seed=seed) for seed in range(3)]
    roomy, model = tiny_lm(), tiny_lm()
    Training(roomy, everything(roomy), data, QUICK).run()
    small = Small(model, room=2, how=how)
    outcome = Training(small, everything(model), data, QUICK).run()
    assert outcome.rows == 2
    assert small.seen[:3] == [8, 4, 2]
    assert set(small.seen[3:]) == {2}
    assert all(torch.allclose(value, state(roomy)[name], atol=3e-5) for name, value in state(model).items())


def test_a_single_segment_too_large_is_refused() -> None:
    model = tiny_lm()
    with pytest.raises(UserError, match="single segment"):
        Training(Small(model, room=0), everything(model), batches(), QUICK).run()
    assert halved(5) == 2


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    model = tiny_lm()
    wrong = [{**batch(), "input_ids": batch()["input_ids"] + 1000}]
    with pytest.raises((IndexError, RuntimeError)):
        Training(model, everything(model), wrong, QUICK).run()


def test_training_on_the_students_own_words_is_resumable(tmp_path: Path) -> None:
    settings = replace(QUICK, distillation=1.0, cross_entropy=0.0, on_policy=0.5, max_new_tokens=4, beta=0.5)
    teacher = tiny_lm(5)
    data = [taught(teacher, one) for one in batches()]
    whole, part, again = tiny_lm(), tiny_lm(), tiny_lm()
    Training(whole, everything(whole), data, settings, teacher=teacher).run()
    Training(part, everything(part), data, settings, folder=tmp_path, teacher=teacher).run(stop_at=5)
    Training(again, everything(again), data, settings, folder=tmp_path, teacher=teacher).run()
    assert same(state(whole), state(again))
    with pytest.raises(UserError, match="needs a teacher"):
        Training(whole, everything(whole), data, settings)


def test_bad_input_is_refused_in_one_line() -> None:
    model = tiny_lm()
    with pytest.raises(UserError, match="no training data"):
        Training(model, everything(model), [], QUICK)
    masked = {**batch(), "labels": torch.full_like(batch()["labels"], IGNORE)}
    with pytest.raises(UserError, match="no completions"):
        Training(model, everything(model), [masked], QUICK)
    with pytest.raises(UserError, match="nothing in this model"):
        Training(model, {}, batches(), QUICK)
    for wrong in ({"epochs": 0}, {"beta": 2}, {"cross_entropy": 0.0}, {"accumulate": 0}, {"learning_rate": -1}):
        with pytest.raises(UserError):
            TrainingSettings(**wrong)


def test_settings_are_the_published_ones_and_take_text() -> None:
    default = TrainingSettings()
    assert (default.epochs, default.learning_rate, default.weight_decay) == (3.0, 1e-5, 0.001)
    rates = [default.rate(step, 10) for step in range(10)]
    assert rates[0] == 1e-5
    assert rates == sorted(rates, reverse=True)
    assert replace(default, warmup=0.5).rate(0, 10) < replace(default, warmup=0.5).rate(4, 10)
    changed = default.but(epochs="2", seed="7", keep_best="false", learning_rate="3e-4")
    assert (changed.epochs, changed.seed, changed.keep_best, changed.learning_rate) == (2.0, 7, False, 3e-4)
    for wrong in ({"epoch": "2"}, {"epochs": "two"}, {"seed": "1.5"}):
        with pytest.raises(UserError):
            default.but(**wrong)
    assert json.loads(json.dumps(default.to_dict()))["epochs"] == 3.0
