"""The hot loops in plain torch and numpy: what the compiled kernels are tested against, and the fallback.

Trellis-coded rounding: about 1 dB nearer to the best any code of so many bits could do, at every rate.

Values lie on a grid of half steps. At each place only every second point may be taken, those of an integer k at
±(k + 1/4) steps, so that an integer costs what one of plain rounding costs. Which of the two signs holds follows from
the integers before it in the sequence, by a machine of three bits that hears only whether each was odd. The encoder
looks for the best path through its eight states (Viterbi); the decoder needs two exclusive ors a place. This is
entropy-coded trellis quantisation (Fischer and Wang, 1992) with Ungerboeck's eight states; the mirrored halves make
one entropy model enough (Kasner, Marcellin and Hunt, 1999).

With error feedback each of the eight survivors carries the errors of its own path, for a block of columns; at the end
of a block the best one stays. Sequences run down the first axis, and all others go along beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STATES = 8
_BLOCK = 128  # places between two decisions for one survivor
_STRIDE = 8  # places between two updates of a block's errors
_BESIDE = 1 << 13  # sequences at once
_FED_BESIDE = 1 << 11  # the same with feedback on a processor, so that eight survivors stay in its cache
_FAR = 1e30
_TABLE = 1 << 16  # different integers that are looked up
_CACHED = 1 << 16  # integers decoded at once
_PIECE = 1 << 15  # the same with plain rounding
Integers = NDArray[Any]  # of 16 or 32 bits
Shifts = tuple[float, float, float]  # how far values of 1/4, 3/4 and more lie nearer to zero, in steps


def _step(state: int, odd: int) -> int:
    """The machine: its bits (x, y, z), of which x says that signs are turned, become (x ⊕ y, z ⊕ odd, x)."""
    x, y, z = state >> 2, state >> 1 & 1, state & 1
    return (x ^ y) << 2 | (z ^ odd) << 1 | x


def _ways_in() -> list[list[int]]:
    """For each state the two ways into it, as 2 · state before + odd."""
    ways: list[list[int]] = [[] for _ in range(_STATES)]
    for state in range(_STATES):
        for odd in (0, 1):
            ways[_step(state, odd)].append(2 * state + odd)
    return ways


_WAYS = _ways_in()
_TURNED = [state >> 2 for state in range(_STATES)]


def trellis_values(integers: Integers, shifts: Shifts, order: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """What integers mean, in steps (places × sequences): place after place as `order` says, each to where it was.

    Whether signs are turned is, at a place, what it was at the one before, exclusive or what it was three before,
    exclusive or whether the integer two before was odd: the machine, written out.
    """
    beside = integers.shape[1]
    low, high = (int(integers.min()), int(integers.max())) if integers.size else (0, 0)
    table = None
    if high - low < _TABLE:
        plain = points(np.arange(low, high + 1), shifts)
        table = np.stack([plain, -plain], 1).reshape(-1)
    height = max(1, _CACHED // max(1, beside))
    turned, odd = np.zeros((height + 3, beside), np.int8), np.zeros((height + 2, beside), np.int8)
    for begin in range(0, len(order), height):
        places = order[begin : begin + height]
        many, some = len(places), integers[places]
        odd[2 : many + 2] = some & 1
        for i in range(many):
            np.bitwise_xor(turned[i + 2], turned[i], out=turned[i + 3])
            np.bitwise_xor(turned[i + 3], odd[i], out=turned[i + 3])
        if table is None:
            out[places] = (1 - 2 * turned[3 : many + 3]) * points(some, shifts)
        else:
            at = some.astype(np.intp)
            at -= low
            at += at
            at += turned[3 : many + 3]
            out[places] = table.take(at)
        turned[:3], odd[:2] = turned[many : many + 3].copy(), odd[many : many + 2].copy()


def points(integers: Integers, shifts: Shifts) -> NDArray[np.float32]:
    """Values where signs are not turned."""
    inner, middle, outer = shifts
    unsigned = integers.astype(np.float64) + 0.25
    unsigned -= np.select([integers == 0, integers == -1], [inner, -middle], np.sign(unsigned) * outer)
    return unsigned.astype(np.float32)


def _shift(k: Tensor, shifts: Shifts) -> Tensor:
    inner, middle, outer = shifts
    return torch.where(k == 0, inner, torch.where(k == -1, -middle, torch.where(k > 0, outer, -outer)))


def _nearest(scaled: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """For each sign and both parities the nearest point: its integer, and what is wrong with it where signs stand.

    `scaled` in steps, [n, …]; `sign` ±1 of the same dimensions. Both results are [n, 2, …], even and odd.
    Paths are chosen by the points and not by the centroids of their cells: those lie nearer to zero, larger integers
    would be taken for it, and these cost more than they gain.
    """
    u = (scaled * sign).unsqueeze(1)
    odd = torch.tensor([0.25, 1.25], device=scaled.device).reshape(1, 2, *[1] * (scaled.dim() - 1))
    y = ((u - odd) * 0.5).round_().mul_(2).add_(odd)
    return y - 0.25, u - y


def quantise_trellis_alone(scaled: Tensor) -> Tensor:
    """Integers for values in steps (places × sequences), without feedback."""
    out = torch.empty_like(scaled)
    for begin in range(0, scaled.shape[1], _BESIDE):
        _plain(scaled[:, begin : begin + _BESIDE], out[:, begin : begin + _BESIDE])
    return out


def _plain(scaled: Tensor, out: Tensor) -> None:
    places, beside = scaled.shape
    cost = _start(beside, scaled.device)
    sign = torch.tensor([1.0, -1.0], device=scaled.device)[:, None]
    rows = torch.tensor([2 * _TURNED[way >> 1] + (way & 1) for ways in zip(*_WAYS, strict=True) for way in ways])
    before = torch.tensor([way >> 1 for ways in zip(*_WAYS, strict=True) for way in ways])
    rows, before = rows.to(scaled.device), before.to(scaled.device)
    for begin in range(0, places, _BLOCK):
        end = min(begin + _BLOCK, places)
        second, kept = [], []
        for i in range(begin, end):
            integers, errors = _nearest(scaled[i].expand(2, -1), sign)
            kept.append(integers.reshape(4, beside))
            added = errors.square_().reshape(4, beside)
            ways = (cost[before] + added[rows]).reshape(2, _STATES, beside)
            second.append(ways[1] < ways[0])
            cost = torch.minimum(ways[0], ways[1])
        best = cost.argmin(0)
        cost = _only(cost, best)
        for i, way in _back(second, best):
            at = 2 * (way >> 3) + (way & 1)  # turned, odd
            out[begin + i] = kept[i].gather(0, at[None])[0]


def _back(second: list[Tensor], state: Tensor) -> Iterator[tuple[int, Tensor]]:
    """From the states at the end of a block backwards: each place, and the way taken there."""
    ways = torch.tensor(_WAYS, device=state.device)
    for i in range(len(second) - 1, -1, -1):
        way = ways[state, second[i].gather(0, state[None])[0].to(torch.int64)]
        yield i, way
        state = way >> 1


def _start(beside: int, device: torch.device) -> Tensor:
    cost = torch.full((_STATES, beside), _FAR, device=device)
    cost[0] = 0
    return cost


def _only(cost: Tensor, best: Tensor) -> Tensor:
    """Costs that leave nothing but one survivor of each sequence."""
    return torch.full_like(cost, _FAR).scatter_(0, best[None], 0.0)


def quantise_trellis(columns: Tensor, upper: Tensor, steps: Tensor, shifts: Shifts) -> Tensor:
    """Integers for `columns` (inputs × outputs, which is used up) with error feedback, one step an input column."""
    out = torch.empty_like(columns)
    beside = _FED_BESIDE if columns.device.type == "cpu" else _BESIDE
    for begin in range(0, columns.shape[1], beside):
        mine = columns[:, begin : begin + beside].contiguous()
        cost = _start(mine.shape[1], mine.device)
        for first in range(0, len(mine), _BLOCK):
            last = min(first + _BLOCK, len(mine))
            block = _Block(mine[first:last], upper[first:last, first:last], steps[first:last], shifts, cost)
            integers, errors, cost = block.run()
            out[first:last, begin : begin + beside] = integers
            if last < len(mine):
                mine[last:].addmm_(upper[first:last, last:].T, errors, alpha=-1)
    return out


class _Block:
    """A block of columns, for each survivor with the errors of its own path."""

    def __init__(self, targets: Tensor, upper: Tensor, steps: Tensor, shifts: Shifts, cost: Tensor) -> None:
        self.targets, self.upper, self.shifts, self.cost = targets, upper, shifts, cost
        self.steps, self.weights = steps.tolist(), (steps / upper.diagonal()).tolist()
        device = targets.device
        self.ways = torch.tensor(list(zip(*_WAYS, strict=True)), device=device)  # first and second way into each
        # Both ways into a state come from states of one sign: the last bit of a state is whether it was turned.
        self.turned = torch.tensor([1.0 - 2 * (state & 1) for state in range(_STATES)], device=device)[:, None]
        self.sign = torch.tensor([1.0 - 2 * t for t in _TURNED], device=device)[:, None]

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Integers and errors of the best path, and what each state costs afterwards."""
        width, beside = self.targets.shape
        errors = self.targets.new_zeros(_STATES, 0, beside)
        second: list[Tensor] = []
        kept: list[Tensor] = []
        for begin in range(0, width, _STRIDE):
            end = min(begin + _STRIDE, width)
            # What lies before `i` are errors, what lies after it targets.
            mixed = self.targets[begin:end].expand(_STATES, -1, -1)
            mixed = mixed - torch.matmul(self.upper[:begin, begin:end].T, errors) if begin else mixed.clone()
            origin = torch.arange(_STATES, device=mixed.device)[:, None].expand(-1, beside)
            for i in range(begin, end):
                at = i - begin
                integers, wrong = _nearest(mixed[:, at] / self.steps[i], self.sign)
                wrong = wrong.reshape(2 * _STATES, beside)
                ways = (self.cost.repeat_interleave(2, 0) + wrong.square().mul_(self.weights[i] ** 2))[self.ways]
                chosen = ways[1] < ways[0]
                self.cost = torch.minimum(ways[0], ways[1])
                second.append(chosen)
                k = self._pick(integers.reshape(2 * _STATES, beside), chosen)
                kept.append(k.to(torch.int32))
                error = self._pick(wrong, chosen).add_(_shift(k, self.shifts)).mul_(self.turned * self.weights[i])
                before = self.ways >> 1
                origin = torch.where(chosen, origin[before[1]], origin[before[0]])
                mixed = torch.where(chosen[:, None], mixed[before[1]], mixed[before[0]])
                mixed[:, at] = error
                mixed[:, at + 1 :].sub_(self.upper[i, i + 1 : end, None] * error[:, None])
            before_all = origin[:, None].expand(-1, errors.shape[1], -1)
            errors = torch.cat([errors.gather(0, before_all), mixed], 1)
        best = self.cost.argmin(0)
        out = torch.empty_like(self.targets)
        state = best
        for i, way in _back(second, best):
            out[i] = kept[i].gather(0, state[None])[0]
            state = way >> 1
        return out, errors.gather(0, best.expand(1, width, -1))[0], _only(self.cost, best)

    def _pick(self, candidates: Tensor, chosen: Tensor) -> Tensor:
        return torch.where(chosen, candidates[self.ways[1]], candidates[self.ways[0]])


def quantise_plain(
    columns: Tensor, upper: Tensor, steps: Tensor, shifts: tuple[float, float], stop: int | None = None
) -> Tensor:
    """Integers for the first `stop` of `columns` (inputs × outputs, which is used up), one step an input column.

    What they get wrong is taken up by the columns behind them, `stop` or not. `shifts` are how far the value of
    |q| = 1 and of |q| > 1 lies towards zero from its grid point, in steps.
    """
    first, others = shifts
    inputs = columns.shape[0]
    stop = inputs if stop is None else stop
    integers = torch.empty_like(columns[:stop])
    for begin in range(0, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        block, errors = columns[begin:end], torch.empty_like(columns[begin:end])
        local = upper[begin:end, begin:end]
        for i in range(end - begin):
            step = steps[begin + i]
            scaled = block[i] / step
            q = torch.round(scaled)
            integers[begin + i] = q
            error = (scaled - _centroids(q, first, others)) * (step / local[i, i])
            errors[i] = error
            if i + 1 < end - begin:
                block[i + 1 :].addr_(local[i, i + 1 :], error, alpha=-1)
        if end < inputs:
            columns[end:].addmm_(upper[begin:end, end:].T, errors, alpha=-1)
    return integers


def _centroids(q: Tensor, first: float, others: float) -> Tensor:
    """The centroids of the cells of integers, in steps."""
    if not first and not others:
        return q
    sign = torch.sign(q)
    return q - torch.where(q == sign, first * sign, others * sign)


def plain_values(integers: NDArray[np.generic], first: float, others: float) -> NDArray[np.float32]:
    """Integers of plain rounding as the centroids of their cells, in steps. In pieces that stay in a cache."""
    flat = integers.reshape(-1)
    out = np.empty(flat.size, np.float32)
    for begin in range(0, flat.size, _PIECE):
        q, value = flat[begin : begin + _PIECE], out[begin : begin + _PIECE]
        value[...] = q
        if first or others:
            sign = np.sign(q)
            value -= sign * np.float32(others)
            if first != others:
                value -= (sign == q) * sign * np.float32(first - others)
    return out.reshape(integers.shape)


def column_values(
    integers: Integers, order: NDArray[np.int64], plain: int, plain_shifts: tuple[float, float], trellis_shifts: Shifts
) -> NDArray[np.float32]:
    """Places × sequences: in order, the first `plain` places by plain rounding, from there on a trellis."""
    out = np.empty(integers.shape, np.float32)
    for place in order[:plain]:
        out[place] = plain_values(integers[place], *plain_shifts)
    trellis_values(integers, trellis_shifts, order[plain:], out)
    return out
