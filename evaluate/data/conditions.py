"""What data may be used for what: nothing is tuned on eval, constrained means ACL 60/60 only, talks are not split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compress.errors import UserError
from evaluate.data.types import ACL6060, EMBEDDED, DataSet, Segment

CONSTRAINED, UNCONSTRAINED = "constrained", "unconstrained"
CONDITIONS = (CONSTRAINED, UNCONSTRAINED)
REPORT = "reporting"
CHOICES = ("search", "calibration", "tuning", "training")  # everything that shapes the compressed model
PURPOSES = (*CHOICES, REPORT)


def check_condition(condition: str, data: DataSet, purpose: str) -> str:
    """Refuses data that the condition, or its split, forbids for a purpose. Returns the label for results.

    The embedded set is always allowed, but belongs to no condition: the label says so.
    """
    if condition not in CONDITIONS:
        raise UserError(f"unknown condition '{condition}': known are {', '.join(CONDITIONS)}")
    if purpose not in PURPOSES:
        raise UserError(f"unknown purpose '{purpose}': known are {', '.join(PURPOSES)}")
    if purpose in CHOICES and data.split == "eval":
        raise UserError(f"{purpose} on the eval split of {data.name} is refused: use dev, and eval to report only")
    if data.origin == EMBEDDED:
        return "embedded (no condition of the shared task)"
    if condition == CONSTRAINED and purpose in CHOICES and data.origin != ACL6060:
        raise UserError(
            f"--condition constrained: {purpose} on {data.name} is refused, only ACL 60/60 may be used"
            " (a manifest that holds it says so with ,origin=acl6060); or give --condition unconstrained"
        )
    return condition


def talks_of(data: DataSet) -> list[str]:
    """The talks in the order of the data. Refuses segments whose talk is not known."""
    unknown = [segment for segment in data.segments if not segment.talk]
    if unknown:
        raise UserError(
            f"data {data.name}: the talk of {len(unknown)} segments is not known, first {unknown[0].id}; give a"
            " manifest with a column talk, or ACL 60/60 with its XML"
        )
    return list(dict.fromkeys(segment.talk for segment in data.segments))


def split_by_talk(data: DataSet, share: float) -> tuple[DataSet, DataSet]:
    """Two parts of whole talks, the first with about `share` of the segments, both in the data's order."""
    talks = talks_of(data)
    if len(talks) < 2:
        raise UserError(f"data {data.name} holds one talk only: it cannot be split between tuning and reporting")
    if not 0 < share < 1:
        raise UserError(f"a share of {share}: give one between 0 and 1")
    sizes = {talk: sum(segment.talk == talk for segment in data.segments) for talk in talks}
    total = len(data.segments)
    talks_with: dict[int, tuple[str, ...]] = {0: ()}  # number of segments → talks that have so many together
    for talk in talks:
        talks_with = {count + sizes[talk]: (*chosen, talk) for count, chosen in talks_with.items()} | talks_with
    counts = [count for count in talks_with if 0 < count < total]
    best = min(counts, key=lambda count: (abs(count - share * total), count))
    chosen = set(talks_with[best])
    parts: list[tuple[Segment, ...]] = [
        tuple(segment for segment in data.segments if (segment.talk in chosen) == inside) for inside in (True, False)
    ]
    return replace(data, segments=parts[0]), replace(data, segments=parts[1])


def check_disjoint(tuning: DataSet, reporting: DataSet) -> None:
    """Refuses two sets that share a talk, an audio file, or a long sentence with its reference."""
    for what, keys in (("talk", _talks), ("audio", _audio_files), ("sentence", _sentences)):
        shared = keys(tuning.segments) & keys(reporting.segments)
        if shared:
            raise UserError(
                f"{tuning.name} and {reporting.name} share {len(shared)} {what}s, such as {min(shared)[:80]!r}:"
                " tuning and reporting need different talks"
            )


def _talks(segments: Sequence[Segment]) -> set[str]:
    return {segment.talk for segment in segments} - {""}


def _audio_files(segments: Sequence[Segment]) -> set[str]:
    """Without offsets: all segments of one file are of one talk."""
    return {str(segment.audio) for segment in segments if segment.audio is not None}


def _sentences(segments: Sequence[Segment]) -> set[str]:
    """Sentences of six words and more: short ones such as "Thank you." occur in every talk."""
    return {f"{s.source} → {s.reference}" for s in segments if len(s.source.split()) >= 6 and s.reference}
