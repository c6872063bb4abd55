"""The provenance of an artifact: where it comes from and what data it was tuned on. `ART.export.json` beside it.

The artifact has exactly the bytes that were predicted, so nothing can be added to it. The provenance names each data
set of the search, the calibration and the training, with fingerprints of its audio and sentences, so that a leak is
detected on another machine, under another name, and without the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import compress
from compress.errors import UserError
from evaluate.data.conditions import REPORT, check_condition
from evaluate.data.open import open_data
from evaluate.data.types import SPLITS, DataSet, Segment
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.run_files import read_json
from results.runs import RECOVERY, RunView
from results.shipping.agreement import Agreement
from results.shipping.verify import VerifySettings

FORMAT = "export-1"
LONG = 6  # words; shorter sentences, such as "Thank you.", occur in every talk


def path_for(artifact: Path) -> Path:
    """Beside the artifact, never in it."""
    return artifact.parent / f"{artifact.name}.export.json"


def fingerprint(purpose: str, spec: str, data: DataSet) -> dict[str, Any]:
    """A data set that was used for `purpose`, as it is kept in the provenance."""
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


def record(
    run: RunView,
    row: Candidate,
    settings: VerifySettings,
    agreement: Agreement,
    verified: Mapping[str, Any],
    out: Path,
    train: str = "",
) -> dict[str, Any]:
    """The provenance of the artifact at `out`, exported from a row and verified. `train` is what a recovered row was
    trained on."""
    spec = settings.spec
    data = spec.open_data()
    policy = compress.Artifact.open(out).policy
    condition = run.config.get("condition", "")
    tuned = [fingerprint("search", spec.data, data)]
    if policy.calibration:
        tuned.append({**tuned[0], "purpose": "calibration"})
    recovery = run.recovery(row)
    if recovery is not None:
        tuned.append(trained_on(train or spec.data, recovery, spec.lang))
        condition = str(about(recovery).get("condition") or condition)  # whichever the search before it was under
    return {
        "artifact_bytes": row.bytes,
        "policy": policy.digest,
        "model": str(run.config.get("model", "")),
        "run": run.name,
        "candidate": row.candidate,
        "recipe": row.recipe,
        "parent": row.parent,
        "chat": spec.chat,
        "max_new_tokens": spec.max_new_tokens,
        "batch_size": spec.batch_size,
        "condition": condition,
        "scores": {"row": {"comet": row.comet, "signature": row.signature}, "afresh": asdict(agreement)},
        "tuned": tuned,
        "seconds_per_segment": verified["seconds_per_segment"],
        "parameters_in_memory": verified["model_parameters"],
    }


def trained_on(spec: str, recovery: Path, lang: str) -> dict[str, Any]:
    """The data set that a recovery was trained on. If it is not on this machine, it has no fingerprints, and
    `unchecked` says so."""
    split = str(about(recovery).get("train_split") or "train")
    try:
        return fingerprint("training", spec, open_data(spec, split, lang))
    except (UserError, OSError):
        unknown = DataSet(spec, split if split in SPLITS else "train", lang, ())
        return fingerprint("training", spec, unknown) | {"unchecked": True}


def about(recovery: Path) -> dict[str, Any]:
    """What a recovery notes of its training."""
    content = read_json(recovery / RECOVERY, "the recovery")
    notes = content.get("about") if isinstance(content, dict) else None
    return notes if isinstance(notes, dict) else {}


def sounds(segments: Iterable[Segment]) -> set[str]:
    """Fingerprints of the audio: the bytes of each file, and where a segment is cut out of it."""
    cut = [(s.audio, "" if s.duration is None else f"@{s.offset:.2f}+{s.duration:.2f}") for s in segments if s.audio]
    files = {audio: _digest(audio.read_bytes()) for audio in {audio for audio, _ in cut}}
    return {files[audio] + where for audio, where in cut}


def sentences(segments: Iterable[Segment]) -> set[str]:
    """Fingerprints of the sentences of LONG words and more."""
    words = (" ".join(s.source.lower().split()) for s in segments if len(s.source.split()) >= LONG)
    return {_digest(text.encode()) for text in words}


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def write(artifact: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False)
    write_atomically(path_for(artifact), text + "\n")


def read(artifact: Path) -> dict[str, Any]:
    """Raises UserError if there is none: then the artifact may have been tuned on eval data."""
    path = path_for(artifact)
    if not path.exists():
        raise UserError(
            f"there is no {path.name} beside {artifact}, so it is not known what it was tuned on: make the artifact"
            " with python -m results.export, and keep the two together"
        )
    content = read_json(path, "the provenance of the artifact")
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("tuned"), list):
        raise UserError(f"{path} is not a provenance of format {FORMAT}: export the artifact again")
    keys = ("purpose", "data", "name", "origin", "split", "lang", "sounds", "sentences")
    if not all(isinstance(each, dict) and all(name in each for name in keys) for each in content["tuned"]):
        raise UserError(f"{path} is damaged: export the artifact again")
    return content


def check_clean(provenance: Mapping[str, Any], data: DataSet, condition: str) -> str:
    """Raises UserError if the artifact was tuned on any of the data, or on data that the condition forbids.

    Returns the label of the condition.
    """
    label = check_condition(condition, data, REPORT)
    test_sounds, test_sentences = sounds(data.segments), sentences(data.segments)
    for each in provenance["tuned"]:
        what = f"{each['purpose']} on {each['name']} ({each['split']})"
        if each["split"] == "eval":
            raise UserError(f"eval data among the tuning data: {what}; such an artifact cannot be submitted")
        shared = len(test_sounds & set(each["sounds"])), len(test_sentences & set(each["sentences"]))
        if any(shared):
            raise UserError(
                f"eval data among the tuning data: {what} shares {shared[0]} sounds and {shared[1]} sentences with"
                f" {data.name} ({data.split}); such an artifact cannot be submitted"
            )
        tuning = DataSet(each["name"], each["split"], each["lang"], (), each["origin"])
        label = check_condition(condition, tuning, each["purpose"])
    return label
