"""The declaration of a submission, filled in from the artifact: its exact bytes, its parameters counted one by one, the
techniques of its policy, the data condition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compress

BLANK = "(to be filled in)"
GRIDS = {"grid@": re.compile(r"grid@([\d.]+)"), "grid@:trellis": re.compile(r"grid@([\d.]+):trellis")}


@dataclass(frozen=True)
class Declaration:
    """In the order of the form of 2025."""

    institute: str
    contact: str
    email: str
    condition: str
    storage_bytes: int
    parameters: int
    techniques: tuple[str, ...]
    details: tuple[str, ...]

    def to_text(self) -> str:
        """The form of 2025, as it is mailed."""
        techniques = "".join(f"    * {line}\n" for line in self.techniques)
        details = "".join(f"    * {line}\n" for line in self.details)
        return (
            f"* Institute: {self.institute}\n* Contact Person: {self.contact}\n* Email: {self.email}\n"
            f"* Data condition: {self.condition}\n* Brief description of the model(s):\n"
            f"  * Exact storage size: {self.storage_bytes} bytes ({self.storage_bytes / 1e9:.6f} GB,"
            f" {self.storage_bytes / 2**30:.6f} GiB)\n"
            f"  * Number of parameters: {self.parameters}\n"
            f"  * Compression techniques:\n{techniques}  * Additional details:\n{details}"
        )


def declare(artifact: Path, provenance: Mapping[str, Any], condition: str, people: Mapping[str, str]) -> Declaration:
    """Everything that the artifact and its provenance say; the rest stays BLANK for people."""
    opened = compress.Artifact.open(artifact)
    return Declaration(
        institute=people.get("institute") or BLANK,
        contact=people.get("contact") or BLANK,
        email=people.get("email") or BLANK,
        condition=condition,
        storage_bytes=opened.nbytes,
        # Counted in the stored tensors, which do not include pruned neurons, rows and layers.
        parameters=sum(tensor.numel() for _, tensor in opened.tensors()),
        techniques=techniques(opened.policy, provenance),
        details=details(provenance),
    )


def techniques(policy: compress.Policy, provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The policy in words, the most used level first."""
    lines = []
    if policy.dropped:
        lines.append(f"whole layers removed: {', '.join(policy.dropped)}")
    counts = Counter(policy.levels.values())
    for name, pattern in GRIDS.items():
        grids = sorted((float(match[1]), level) for level in counts if (match := pattern.fullmatch(level)))
        if len(grids) > 1:
            rates = ", ".join(f"{counts[level]} at {rate:g}" for rate, level in grids)
            units = sum(counts.pop(level) for _, level in grids)
            lines.append(f"{level_in_words(name, bool(policy.calibration))}: {units} units ({rates})")
    lines += [f"{level_in_words(level, bool(policy.calibration))}: {n} units" for level, n in counts.most_common()]
    if policy.vocabulary != "full":
        lines.append(f"vocabulary reduced to {policy.vocabulary}")
    if provenance.get("parent"):
        lines.append(f"training after compression: {provenance.get('recipe', '')}")
    return tuple(lines)


def level_in_words(level: str, calibrated: bool) -> str:
    """A level as a paper names it."""
    name, _, setting = level.partition("@") if "@" in level else level.partition(":")
    if name == "ffn":
        share, _, inner = setting.partition("+") if ":" in level else level.removeprefix("ffn").partition("+")
        rest = level_in_words(inner, calibrated)
        return f"structured pruning of FFN neurons to {share.lstrip(':')} of them, then {rest}"
    if name == "grid":
        setting, _, trellis = setting.partition(":")
        coded = f"uniform grid with {'trellis-coded, ' if trellis else ''}entropy-coded integers"
        feedback = ", GPTQ-style error feedback" if calibrated else ""
        rate = f"{setting} bits a weight" if setting else "bits a weight chosen for each unit"
        return f"{coded}{feedback}, {rate}"
    known = {
        "digits": f"uniform quantiser to {setting} digits + Zstandard",
        "rtn": "round to nearest in groups",
        "nf4": "NF4 with double quantisation",
        "int8": "LLM.int8",
        "raw": f"stored as {setting}, not quantised",
    }
    return f"{known[name]} ({level})" if name in known else level


def details(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    tuned = dict.fromkeys(f"{each['purpose']} on {each['name']} ({each['split']})" for each in provenance["tuned"])
    lines = [f"base model: {provenance.get('model', '?')}", f"data used: {', '.join(tuned) or 'none'}"]
    lines.append("hypotheses cleaned of preambles, outer quotes and runs of spaces")
    if provenance.get("seconds_per_segment") is not None:
        lines.append(f"translation: {provenance['seconds_per_segment']:.3f} s a segment when it was exported")
    return tuple(lines)
