"""The training loop: AdamW on a cosine, resumable to the same result, safe against NaN and a lack of memory.

A step is the sum over the tokens of its batches divided by their number, so that cutting a batch into pieces because
memory ran out changes nothing but the order of additions. Everything random is drawn from (seed, epoch or step), so
that a run that was killed and resumed on a CPU ends with the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.recovery import checkpoints
from compress.recovery.batches import Batch, check, logits_of, on_policy, output_of, pieces, placed, rows_of
from compress.recovery.losses import tokens_in, total
from compress.recovery.matching import StateMatch, places_in
from compress.recovery.settings import TrainingSettings

Say = Callable[[dict[str, Any]], None]  # an entry of the curve, as it is made


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training run ended. The model holds the state that is kept; the curve tells how it came to be."""

    steps: int  # taken
    kept: int  # the step whose state is kept
    curve: tuple[dict[str, Any], ...]  # step, loss, rate and, at checkpoints, held_out
    stopped: str = ""  # why it stopped early
    rows: int | None = None  # at once, if memory was too small for a batch


class Training:
    """A model, the parameters of it that train, and batches; `run` trains."""

    def __init__(
        self,
        model: Any,
        parameters: Mapping[str, nn.Parameter],
        batches: Sequence[Batch],
        settings: TrainingSettings,
        held_out: Sequence[Batch] = (),
        folder: Path | None = None,
        teacher: Any = None,
        say: Say | None = None,
        match: StateMatch | None = None,
    ) -> None:
        check(batches, "training")
        if not parameters:
            raise UserError("nothing in this model is to be trained")
        if settings.on_policy > 0 and (teacher is None or settings.distillation == 0):
            raise UserError("training on the student's own completions needs a teacher and distillation above 0")
        if settings.hidden > 0 and match is None:
            raise UserError("training on hidden states needs a teacher whose states they are to be like")
        self.model, self.parameters, self.batches = model, dict(parameters), batches
        self.settings, self.held_out, self.folder, self.teacher = settings, held_out, folder, teacher
        self.say, self.match = say or (lambda _: None), match if settings.hidden > 0 else None
        self.steps = settings.steps(len(batches))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        matrices = [p for p in self.parameters.values() if p.dim() > 1]
        others = [p for p in self.parameters.values() if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate)
        self.curve: list[dict[str, Any]] = []
        self._step = 0
        self._rows: int | None = None
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._good: tuple[int, dict[str, Tensor]] = (0, self._state())

    def run(self, stop_at: int | None = None) -> TrainingOutcome:
        """Trains to the end (or to a step, to go on later). The model is left with the state that is kept."""
        self._resume()
        last = self.steps if stop_at is None else min(stop_at, self.steps)
        stopped = ""
        if self._step == 0 and not self.curve and (reason := self._mark(None)):
            raise UserError(f"training cannot begin: {reason}")
        while self._step < last:
            loss, reason = self._take_step()
            if reason:
                stopped = f"{reason} at step {self._step + 1}; the state of step {self._good[0]} is kept"
                break
            self._step += 1
            if self._step % self.settings.checkpoint_every == 0 or self._step == self.steps:
                if reason := self._mark(loss):
                    stopped = f"{reason} at step {self._step}; the state of step {self._good[0]} is kept"
                    break
            else:
                self._note({"step": self._step, "loss": loss, "rate": self._rate(self._step - 1)})
        return self._end(stopped, self._step == self.steps or bool(stopped))

    def _take_step(self) -> tuple[float, str]:
        """One step, or why it cannot be taken. Too little memory: the whole step again, in smaller pieces."""
        chosen = [self._batch(self._step * self.settings.accumulate + i) for i in range(self.settings.accumulate)]
        count, places = sum(map(tokens_in, chosen)), sum(map(places_in, chosen)) if self.match else 1
        while True:
            try:
                self.optimiser.zero_grad(set_to_none=True)
                loss = 0.0
                for batch in chosen:
                    for piece in pieces(batch, self._rows):
                        here = placed(piece, self.model)
                        with half_on_gpu(here["labels"].device):
                            output = output_of(self.model, here, states=self.match is not None)
                            part = total(output.logits, here, self.settings) / count
                            if self.match is not None:
                                apart = self.match.apart(output.hidden_states, here)
                                part = part + self.settings.hidden * apart / places
                        part.backward()
                        loss += float(part.detach())
                break
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not out_of_memory(error):
                    raise
                self._rows = halved(max(map(rows_of, chosen)) if self._rows is None else self._rows)
                self.optimiser.zero_grad(set_to_none=True)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        if not math.isfinite(loss):
            return loss, f"the loss is {loss}"
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip))
        if not math.isfinite(norm):
            return loss, f"the gradient's norm is {norm}"
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(self._step)
        self.optimiser.step()
        return loss, ""

    def _rate(self, step: int) -> float:
        return self.settings.rate(step, self.steps)

    def _batch(self, number: int) -> Batch:
        """The batch that comes as the number-th; each epoch has an order of its own."""
        epoch, place = divmod(number, len(self.batches))
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        batch = self.batches[int(torch.randperm(len(self.batches), generator=generator)[place])]
        if self.settings.on_policy > 0:
            draw = torch.rand((), generator=torch.Generator().manual_seed(self.settings.seed * 7_919 + number))
            if float(draw) < self.settings.on_policy:
                return on_policy(self.model, self.teacher, batch, self.settings.max_new_tokens)
        return batch

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """Mean loss of a held-out token; None without held-out data."""
        if not len(self.held_out):
            return None
        loss, count = 0.0, 0
        for batch in self.held_out:
            for piece in pieces(batch, self._rows):
                here = placed(piece, self.model)
                with half_on_gpu(here["labels"].device):
                    loss += float(total(logits_of(self.model, here), here, self.settings))
                count += tokens_in(piece)
        return loss / max(count, 1)

    def _mark(self, loss: float | None) -> str:
        """A point of the curve with its held-out loss, and a checkpoint; or why the state is not worth keeping."""
        held = self.held_out_loss()
        if held is not None and not math.isfinite(held):
            return f"the held-out loss is {held}"
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters.values()):
            return "a trained value is no number"
        entry: dict[str, Any] = {"step": self._step, "loss": loss, "rate": self._rate(max(self._step - 1, 0))}
        self._note(entry if held is None else {**entry, "held_out": held})
        state = self._state()
        self._good = (self._step, state)
        if held is not None and self.settings.keep_best and (self._best is None or held < self._best[0]):
            self._best = (held, self._step, state)
        if self.folder is not None and self._step:
            progress = {
                "step": self._step,
                "fingerprint": self.fingerprint,
                "curve": self.curve,
                "rows": self._rows,
                "best": None if self._best is None else list(self._best[:2]),
            }
            best = None if self._best is None else self._best[2]
            checkpoints.save(self.folder, self._step, progress, state, self.optimiser, best)
        return ""

    @property
    def fingerprint(self) -> str:
        """What a checkpoint must agree on to be gone on from."""
        shapes = {name: list(value.shape) for name, value in self.parameters.items()}
        facts = [self.settings.to_dict(), shapes, len(self.batches), len(self.held_out)]
        facts.append([[list(b["labels"].shape), int(b["labels"].sum())] for b in self.batches])
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def _resume(self) -> None:
        saved = None if self.folder is None or self._step else checkpoints.load(self.folder)
        if saved is None:
            return
        state, trained, moments, best = saved
        if state.get("fingerprint") != self.fingerprint:
            raise UserError(
                f"{self.folder} holds the training of other settings, data or another model: give another folder"
                " or remove it"
            )
        self._step, self.curve, self._rows = state["step"], state["curve"], state["rows"]
        self._put(trained)
        checkpoints.put_moments(self.optimiser, moments)
        self._good = (self._step, self._state())
        if best is not None:
            self._best = (*state["best"], best)

    def _end(self, stopped: str, finished: bool) -> TrainingOutcome:
        kept = self._step
        if finished and self._best is not None and self.settings.keep_best:
            kept = self._best[1]
            self._put(self._best[2])
        elif stopped:
            kept = self._good[0]
            self._put(self._good[1])
        self.optimiser.zero_grad(set_to_none=True)
        return TrainingOutcome(self._step, kept, tuple(self.curve), stopped, self._rows)

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self.parameters.items():
            value.copy_(state[name])

    def _note(self, entry: dict[str, Any]) -> None:
        self.curve.append(entry)
        self.say({**entry, "steps": self.steps})


def half_on_gpu(device: torch.device) -> Any:
    """Multiplications in bfloat16 on a GPU, whatever the trained values are held in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def halved(rows: int) -> int:
    if rows <= 1:
        raise UserError("out of memory with a single segment at once: a device with more memory is needed")
    return rows // 2
