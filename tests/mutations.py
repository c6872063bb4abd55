"""Accidents and malice for fuzzers: bytes with small damages, and JSON with values that nobody expects there."""

from __future__ import annotations

import copy
import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from compress.errors import UserError

NASTY: list[Any] = [
    *(0, -1, 1, 2**31 - 1, 2**31, 2**62, 1e308, None, True, "", "x", [], {}, [[]], {"a": {}}, "../../etc/passwd"),
    *("/etc/passwd", "a" * 300, "\0", "full", "grid@9", "nf4", [0] * 50, "qwen2", "flash_attention_2", float("nan")),
    *(float("inf"), -1.5, "\ud800", "\x1b[2J\r", "=1+1", {"$ref": "#"}, "http://127.0.0.1:9/x", [["level", "lm.0"]]),
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four small accidents."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(7):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at:at] = rng.randbytes(rng.randint(1, 16))
            case 3:
                del out[at : at + rng.randint(1, 16)]
            case 4:
                out[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
                )
            case 5 if out:
                out[at] = rng.randrange(256)
            case _:
                begin = rng.randrange(len(out) + 1)
                out[at:at] = out[begin : begin + 32]
    return bytes(out)


class TooSlow(Exception):
    """A case took longer than anybody would wait."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooSlow in a block that takes longer; only in the main thread of a process."""

    def late(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def mutated_json(text: str, rng: random.Random) -> bytes:
    """A JSON file with other values, or with other bytes, or nested deeper than anything may be."""
    match rng.randrange(10):
        case 0:
            return b"[" * 100_000
        case 1:
            return b'{"a":' * 100_000 + b"1" + b"}" * 100_000
        case 2 | 3 | 4:
            return mutated(text.encode(), rng)
    value = json.loads(text)
    nastily(value, rng)
    return json.dumps(value).encode()


def one_line(refusal: UserError, outcome: str) -> str:
    if "\n" in str(refusal) or not str(refusal):
        raise ValueError(f"a refusal of more or less than one line: {refusal}")
    return outcome


def nastily(value: Any, rng: random.Random) -> None:
    """Replace one to three values somewhere inside."""
    for _ in range(rng.randint(1, 3)):
        at = value
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.8:
                at = at[key]
                continue
            if rng.random() < 0.15:
                del at[key]
            else:
                at[key] = copy.deepcopy(rng.choice(NASTY))  # a later round may change it where it is
            break


def count_outcomes(rounds: int, seed: int, attempt: Callable[[int, random.Random], str]) -> Counter[str]:
    """How often what happened. `attempt` gets the number of the round; any exception of it names its round."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for number in range(rounds):
        case = random.Random(rng.random())
        try:
            outcomes[attempt(number, case)] += 1
        except Exception as error:
            raise AssertionError(f"round {number} of seed {seed} ended in {type(error).__name__}") from error
    return outcomes
