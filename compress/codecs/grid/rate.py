"""Finding the step that costs what it may cost: the rate of an entropy-coded grid is continuous."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compress.errors import UserError

ENOUGH = 0.988  # stop when this share of the budget is used
AIM = 0.995
AIM_OF_SOME = 0.9985  # the aim on a share of the outputs, whose streams are shorter and so cost a little more
NEAR = 0.05  # so near to that aim the slope tells the rest
_MOST_ATTEMPTS = 24


def search(attempt: Callable[[float], bytes], budget: int, count: int, guess: float) -> tuple[bytes, float]:
    """The payload nearest below `budget` bytes, and log2 of its step, which is what `attempt` takes.

    `count` is the number of weights.
    """
    best: tuple[bytes, float] | None = None
    dear, cheap = -28.0, 12.0  # log2 of steps known to cost too much, and to fit
    previous: tuple[float, float] | None = None
    for _ in range(_MOST_ATTEMPTS):
        payload = attempt(guess)
        bits, wanted = 8 * len(payload) / count, 8 * AIM * budget / count
        if len(payload) <= budget:
            cheap = guess
            if best is None or len(payload) > len(best[0]):
                best = payload, guess
            if len(payload) >= ENOUGH * budget:
                break
        else:
            dear = guess
        if cheap - dear < 2e-4:
            break
        slope = _expected_slope(min(bits, wanted)) if previous is None else _slope(previous, (guess, bits))
        previous = (guess, bits)
        guess += (wanted - bits) / slope
        if not dear < guess < cheap:
            guess = (dear + cheap) / 2
    if best is None:
        raise UserError(f"{count} weights cannot be written in {budget} bytes, side information included")
    return best


def approach(attempt: Callable[[float], bytes], budget: int, count: int, guess: float) -> float:
    """log2 of the step with which all outputs will come near `budget`, by attempts on some of them."""
    wanted, previous = 8 * AIM_OF_SOME * budget / count, None
    for _ in range(_MOST_ATTEMPTS):
        bits = 8 * len(attempt(guess)) / count
        slope = _expected_slope(min(bits, wanted)) if previous is None else _slope(previous, (guess, bits))
        previous = (guess, bits)
        guess += (wanted - bits) / slope
        if abs(bits - wanted) <= NEAR * wanted:
            break
    return guess


def _expected_slope(bits: float) -> float:
    """A step twice as wide saves one bit a weight where rates are high and less where they are low."""
    return -1.0 + 2.0 ** -(1 + bits)


def _slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    run = second[0] - first[0]
    slope = (second[1] - first[1]) / run if run else -1.0
    return min(max(slope, -1.5), -0.1)


def first_guess(sample: NDArray[np.float32], bits: float) -> float:
    """log2 of a step by the entropy of a sample: cheap, and nearly right."""
    low, high = -20.0, 8.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(np.rint(sample / 2.0**middle)) > bits else (low, middle)
    return high


def entropy(integers: NDArray[np.generic]) -> float:
    """Empirical entropy, bits a value."""
    shares = np.unique(integers, return_counts=True)[1] / integers.size
    return float(-(shares * np.log2(shares)).sum())
