"""What a worker can be asked to do. Plain data: a job travels as JSON-like dictionaries through Ray Tune's config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CALIBRATE, BUILD, SCORE, SENSE = "calibrate", "build", "score", "sense"
LEVEL, DROP = "level", "drop"


@dataclass(frozen=True)
class Context:
    """What every worker of a run needs to know. Paths must mean the same on every machine of the cluster."""

    model: str  # folder of the original checkpoint
    store: str  # folder of the variants
    data: str
    split: str
    lang: str
    segments: int | None
    sense_segments: int  # segments that sensitivities are measured on
    chat: bool  # the ChatML prompt of -Instruct models
    batch_size: int
    max_new_tokens: int
    scorers: tuple[str, ...]  # names of the scorer actors
    device: str  # "cuda" or "cpu"
    threads: int


def calibrate(translations: Sequence[str]) -> dict[str, Any]:
    """Gather the statistics that levels with error feedback are encoded with."""
    return {"kind": CALIBRATE, "translations": list(translations)}


def build(treatments: Sequence[tuple[str, str]], calibration: str) -> dict[str, Any]:
    """Encode units at levels: (unit, level) pairs."""
    return {"kind": BUILD, "treatments": [list(pair) for pair in treatments], "calibration": calibration}


def score(policy: str | None) -> dict[str, Any]:
    """Translate and score under a policy (its JSON), the original for None."""
    return {"kind": SCORE, "policy": policy}


def sense(treatments: Sequence[tuple[str, str, str]], translations: Sequence[str], calibration: str) -> dict[str, Any]:
    """KL of the original with one treatment at a time: (LEVEL, unit, level) or (DROP, layer, "")."""
    return {
        "kind": SENSE,
        "treatments": [list(t) for t in treatments],
        "translations": list(translations),
        "calibration": calibration,
    }
