"""What the audio tower heard, kept across candidates that treat the tower alike.

The tower is found by structure (a stack of layers behind 1-D convolutions) and its `forward` is stood in for while a
batch goes through the model, so whatever the model does with the tower's states afterwards is the model's own code.
The states, not the projector's outputs, are kept: they are three times smaller on Qwen2-Audio, projecting them again
costs 1 % of the tower, and a policy may change the projector freely. Frames behind the end of the longest sound in
a batch are not kept: the model masks them out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from evaluate.decoding.batches import Batch


@dataclass(frozen=True)
class EncoderOutput:
    """Last states of the tower for the rows of a batch, in main memory. `frames` is their number with padding."""

    states: Any  # [rows, frames kept, width]
    frames: int
    kind: type

    @property
    def nbytes(self) -> int:
        return int(self.states.numel() * self.states.element_size())

    def rows(self, rows: Sequence[int]) -> EncoderOutput:
        return EncoderOutput(self.states[list(rows)], self.frames, self.kind)

    def output(self, device: Any) -> Any:
        """What the tower itself would have returned."""
        kept = self.states.to(device)
        full = kept.new_zeros(kept.shape[0], self.frames, kept.shape[2])
        full[:, : kept.shape[1]] = kept
        return self.kind(last_hidden_state=full)


class EncoderCache:
    """EncoderOutput batches by action of the tower, the least recently used forgotten first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = self.hits = self.misses = 0
        self._kept: OrderedDict[tuple[str, ...], EncoderOutput] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> EncoderOutput | None:
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def put(self, key: tuple[str, ...], heard: EncoderOutput) -> None:
        """What alone is larger than the limit is not kept."""
        if heard.nbytes > self.limit_bytes:
            return
        if key in self._kept:
            self.nbytes -= self._kept.pop(key).nbytes
        self._kept[key] = heard
        self.nbytes += heard.nbytes
        while self.nbytes > self.limit_bytes:
            _, old = self._kept.popitem(last=False)
            self.nbytes -= old.nbytes

    def clear(self) -> None:
        self._kept.clear()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)


class EncoderHook:
    """One batch on its way through one model: `hearing()` around each call of the model."""

    def __init__(self, model: Any, batch: Batch, cache: EncoderCache | None = None, encoder_key: str = "") -> None:
        if cache is not None and not encoder_key:
            raise ValueError("a tower cache needs a encoder_key that names what was done to the tower")
        self._batch, self._cache = batch, cache
        self._tower = find_encoder(model) if batch.heard_digest else None
        self._key: tuple[str, ...] = ()
        self._heard: EncoderOutput | None = None
        if self._tower is not None and cache is not None:
            self._key = (encoder_key, batch.heard_digest, str(model.dtype), str(model.device))
            self._heard = cache.get(self._key)

    @property
    def knows(self) -> bool:
        """Whether rows of the batch may go through alone: the tower heard the batch, or there is none."""
        return self._tower is None or self._heard is not None

    def hearing(self, rows: Sequence[int] | None = None) -> Any:
        """The whole batch, or some of its rows: those come from what the whole batch heard, if it did."""
        if self._tower is None:
            return nullcontext()
        if rows is None:
            return stand_in(self._tower, self._heard, self._keep)
        return stand_in(self._tower, None if self._heard is None else self._heard.rows(rows), None)

    def _keep(self, output: Any) -> None:
        states = output.last_hidden_state
        mask = self._batch.inputs["feature_attention_mask"]
        longest = int(mask.sum(-1).max())
        used = min(states.shape[1], -(-longest * states.shape[1] // mask.shape[1]) + 1)
        # A copy: a slice would keep the whole alive.
        self._heard = EncoderOutput(states[:, :used].detach().to("cpu", copy=True), states.shape[1], type(output))
        if self._cache is not None:
            self._cache.put(self._key, self._heard)


@contextmanager
def stand_in(tower: Any, heard: EncoderOutput | None, keep: Callable[[Any], None] | None) -> Iterator[None]:
    """While it lasts the tower answers what it heard before; if nothing, it listens, and `keep` is told."""
    before = tower.__dict__.get("forward")
    original = tower.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if heard is not None:
            features = args[0] if args else kwargs["input_features"]
            return heard.output(features.device)
        output = original(*args, **kwargs)
        if keep is not None:
            keep(output)
        return output

    tower.forward = forward
    try:
        yield
    finally:
        del tower.forward
        if before is not None:
            tower.forward = before


def find_encoder(model: Any) -> Any:
    """The module that holds both 1-D convolutions and a stack of layers; None in a text model."""
    from torch import nn

    for module in model.modules():
        children = list(module.children())
        if any(isinstance(c, nn.Conv1d) for c in children) and any(isinstance(c, nn.ModuleList) for c in children):
            return module
    return None


def encoder_key(policy: Any) -> str:
    """What a policy does to the tower: equal for policies that treat it alike. None is the original.

    Levels and calibration decide what a unit becomes, nothing else does (a unit's variant knows of no other unit).
    """
    if policy is None:
        return "original"
    levels = [f"{unit}={level}" for unit, level in sorted(policy.levels.items()) if unit.startswith("audio.")]
    dropped = [layer for layer in policy.dropped if layer.startswith("audio.")]
    return f"{policy.model} {policy.calibration} {' '.join(levels)} -{' '.join(dropped)}"
