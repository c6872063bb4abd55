"""What an artifact was made on: its tuning history, written beside the artifact (ART.export.json), read by submit.

The artifact itself holds exactly the bytes that were predicted, so nothing can be added to it. The history names each
data set that was searched, calibrated or trained on, and holds fingerprints of its sounds and sentences, so that a
leak is found on another machine, under another name, without the data itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compress.errors import UserError
from evaluate.data.conditions import check_condition
from evaluate.data.open import open_data
from evaluate.data.types import SPLITS, DataSet, Segment
from results.atomic_write import write_atomically
from results.runs import read_json

FORMAT = "export-1"
LONG = 6  # words: "Thank you." is said in every talk


def path_for(artifact: Path) -> Path:
    """Beside the artifact, never in it."""
    return artifact.parent / f"{artifact.name}.export.json"


def fingerprint(purpose: str, spec: str, data: DataSet) -> dict[str, Any]:
    """One data set that the artifact owes something to."""
    return {
        "purpose": purpose,
        "data": spec,
        "name": data.name,
        "origin": data.origin,
        "split": data.split,
        "lang": data.lang,
        "segments": len(data.segments),
        "digest": data.digest,
        "sounds": sorted(sounds(data.segments)),
        "sentences": sorted(sentences(data.segments)),
    }


def trained_on(recovery: Path, lang: str) -> dict[str, Any]:
    """The data set that a recovery was trained on, from its own notes. Where that is not at hand, fingerprints are
    missing, and `unchecked` says so."""
    about = read_json(recovery / "recovery.json", "the recovery").get("about") or {}
    spec, split = str(about.get("train", "?")), str(about.get("train_split") or "train")
    try:
        return fingerprint("training", spec, open_data(spec, split, lang))
    except (UserError, OSError):
        unknown = DataSet(spec, split if split in SPLITS else "train", lang, ())
        return fingerprint("training", spec, unknown) | {"unchecked": True}


def sounds(segments: Iterable[Segment]) -> set[str]:
    """Fingerprints of what is heard: the file's bytes, and where it is cut."""
    files: dict[Path, str] = {}
    found = set()
    for s in segments:
        if s.audio is None:
            continue
        if s.audio not in files:
            files[s.audio] = hashlib.blake2b(s.audio.read_bytes(), digest_size=8).hexdigest()
        found.add(files[s.audio] + ("" if s.duration is None else f"@{s.offset:.2f}+{s.duration:.2f}"))
    return found


def sentences(segments: Iterable[Segment]) -> set[str]:
    """Fingerprints of sentences of LONG words and more."""
    words = (" ".join(s.source.lower().split()) for s in segments if len(s.source.split()) >= LONG)
    return {hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in words}


def write(artifact: Path, history: dict[str, Any]) -> Path:
    path = path_for(artifact)
    write_atomically(path, json.dumps({"format": FORMAT, **history}, indent=1, ensure_ascii=False) + "\n")
    return path


def read(artifact: Path) -> dict[str, Any]:
    """Refuses an artifact without a history: nobody could say that eval was not among what it was tuned on."""
    path = path_for(artifact)
    if not path.exists():
        raise UserError(
            f"there is no {path.name} beside {artifact}, so it is not known what it was tuned on: make the artifact"
            " with python -m results.export, and keep the two together"
        )
    found = read_json(path, "the history of the artifact")
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("tuned"), list):
        raise UserError(f"{path} is not a history of format {FORMAT}: export the artifact again")
    wanted = ("purpose", "data", "name", "origin", "split", "lang", "sounds", "sentences")
    if not all(isinstance(each, dict) and all(name in each for name in wanted) for each in found["tuned"]):
        raise UserError(f"{path} is damaged: export the artifact again")
    return found


def check_clean(history: dict[str, Any], data: DataSet, condition: str) -> str:
    """Refuses an artifact that has seen the data, or data that its condition forbids. Returns the condition's label."""
    label = check_condition(condition, data, "reporting")
    heard, said = sounds(data.segments), sentences(data.segments)
    for each in history["tuned"]:
        what = f"{each['purpose']} on {each['name']} ({each['split']})"
        if each["split"] == "eval":
            raise UserError(f"eval data in the tuning history: {what}; such an artifact cannot be submitted")
        shared = len(heard & set(each["sounds"])), len(said & set(each["sentences"]))
        if any(shared):
            raise UserError(
                f"eval data in the tuning history: {what} shares {shared[0]} sounds and {shared[1]} sentences with"
                f" {data.name} ({data.split}); such an artifact cannot be submitted"
            )
        stand_in = DataSet(each["name"], each["split"], each["lang"], (), each["origin"])
        label = check_condition(condition, stand_in, each["purpose"])
    return label
