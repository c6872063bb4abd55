"""What a worker can be asked to do. Plain data: a job travels as JSON-like dictionaries through Ray Tune's config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress import Store
from compress.errors import UserError
from compress.model.vocabulary import FULL
from evaluate.spec import EvalSpec

Job = dict[str, Any]
CALIBRATE, BUILD, SCORE, SENSE = "calibrate", "build", "score", "sense"
KL, PART, ALL = "kl", "part", "all"  # rungs of a score
RUNG_WORDS = {KL: "divergence", PART: "translating a part", ALL: "translating"}
LEVEL, DROP, TRIM = "level", "drop", "trim"


@dataclass(frozen=True)
class Context:
    """What every worker of a run needs to know. Paths must mean the same on every machine of the cluster."""

    model: str  # folder of the original checkpoint
    store: str  # folder of the variants
    spec: EvalSpec
    sense_segments: int  # segments that sensitivities are measured on
    part: tuple[int, ...]  # segments of the rung "part", in no other order than the data's
    scorers: tuple[str, ...]  # names of the scorer actors
    device: str  # "cuda" or "cpu"
    threads: int


def calibrate(reference: str) -> dict[str, Any]:
    """Gather the statistics that levels with error feedback are encoded with, on the original's translations."""
    return {"kind": CALIBRATE, "reference": reference}


def build(actions: Sequence[tuple[str, str]], calibration: str, vocabulary: str = FULL) -> dict[str, Any]:
    """Encode units at levels, (unit, level) pairs, with the rows that a vocabulary keeps."""
    job = {"kind": BUILD, "actions": [list(pair) for pair in actions]}
    return job | {"calibration": calibration, "vocabulary": vocabulary}


def score(policy: str | None, rungs: Sequence[str] = (ALL,), reference: str = "") -> dict[str, Any]:
    """Translate and score under a policy (its JSON), the original for None; one report a rung."""
    return {"kind": SCORE, "policy": policy, "rungs": list(rungs), "reference": reference}


def sense(actions: Sequence[tuple[str, str, str]], calibration: str, reference: str) -> dict[str, Any]:
    """KL of the original with one action at a time: (LEVEL, unit, level), (DROP, layer, "") or
    (TRIM, vocabulary, ""). Several units or layers at once are joined by results.runs.JOINT."""
    return {"kind": SENSE, "actions": [list(t) for t in actions], "calibration": calibration, "reference": reference}


def reports_of(job: Job) -> int:
    """How many reports a job gives: one a rung, or one."""
    return len(job.get("rungs", "1"))


def describe(job: Job) -> str:
    """What a worker does with a job, for the person who watches."""
    if job["kind"] == SCORE:
        return describe_rung(job.get("name", "a candidate"), job["rungs"][0] if len(job["rungs"]) == 1 else "")
    if job["kind"] == BUILD:
        units = list(dict.fromkeys(unit for unit, _ in job["actions"]))
        more = f" and {len(units) - 1} more" if units[1:] else ""
        variants = len(job["actions"])
        return f"encoding {units[0]}{more} ({variants} variant{'s'[: variants > 1]})"
    if job["kind"] == SENSE:
        return f"measuring {len(job['actions'])} sensitivities"
    return "calibrating" if job["kind"] == CALIBRATE else str(job["kind"])


def describe_rung(candidate: str, rung: str) -> str:
    """What is done with a candidate at a rung."""
    return f"{candidate}, {RUNG_WORDS.get(rung, 'scoring')}"


def keep_reference_outputs(store: Store, texts: Sequence[str]) -> str:
    """Puts the original's translations where every worker reads them; returns the key that jobs name them by."""
    payload = json.dumps(list(texts), ensure_ascii=False).encode()
    key = hashlib.blake2b(b"said " + payload, digest_size=20).hexdigest()
    store.put(key, payload)
    return key


def read_reference_outputs(store: Store, key: str) -> list[str]:
    payload = store.get(key)
    if payload is None:
        raise UserError(f"the store {store.root} does not hold the original's translations: is it shared by all nodes?")
    texts: list[str] = json.loads(payload)
    return texts
