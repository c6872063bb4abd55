"""What data may be used for what: nothing is chosen on eval, constrained means ACL 60/60 only, talks stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compress.errors import UserError
from evaluate.data.dataset import ACL6060, EMBEDDED, DataSet, Segment

CONSTRAINED, UNCONSTRAINED = "constrained", "unconstrained"
CONDITIONS = (CONSTRAINED, UNCONSTRAINED)
REPORT = "reporting"
CHOICES = ("search", "calibration", "tuning", "training")  # whatever shapes the compressed model
PURPOSES = (*CHOICES, REPORT)


def check_condition(condition: str, data: DataSet, purpose: str) -> str:
    """Refuses data that this condition or its split forbids for this purpose. Returns the label of the result.

    The embedded set passes, but what comes of it is of no condition: its label says so.
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
    """The talks in the order of the data. Refuses data of which nobody knows the talks."""
    unknown = [segment for segment in data.segments if not segment.talk]
    if unknown:
        raise UserError(
            f"data {data.name}: the talk of {len(unknown)} segments is not known, first {unknown[0].id}; give a"
            " manifest with a column talk, or ACL 60/60 with its XML"
        )
    return list(dict.fromkeys(segment.talk for segment in data.segments))


def split_by_talk(data: DataSet, share: float) -> tuple[DataSet, DataSet]:
    """Two parts of whole talks, the first as near to `share` of the segments as talks allow; order kept."""
    talks = talks_of(data)
    if len(talks) < 2:
        raise UserError(f"data {data.name} holds one talk only: it cannot be split between tuning and reporting")
    if not 0 < share < 1:
        raise UserError(f"a share of {share}: give one between 0 and 1")
    sizes = {talk: sum(segment.talk == talk for segment in data.segments) for talk in talks}
    wanted, total = share * len(data.segments), len(data.segments)
    reached: dict[int, tuple[str, ...]] = {0: ()}  # number of segments -> talks that have so many together
    for talk in talks:
        reached = {count + sizes[talk]: (*chosen, talk) for count, chosen in reached.items()} | reached
    best = min((count for count in reached if 0 < count < total), key=lambda count: (abs(count - wanted), count))
    chosen = set(reached[best])
    parts: list[tuple[Segment, ...]] = [
        tuple(segment for segment in data.segments if (segment.talk in chosen) == inside) for inside in (True, False)
    ]
    return replace(data, segments=parts[0]), replace(data, segments=parts[1])


def check_disjoint(tuning: DataSet, reporting: DataSet) -> None:
    """Refuses two sets that share a talk or, where talks are not known, a sound or a sentence with its reference."""
    for what, of in (("talk", _talks), ("audio", _sounds), ("sentence", _sentences)):
        shared = of(tuning.segments) & of(reporting.segments)
        if shared:
            raise UserError(
                f"{tuning.name} and {reporting.name} share {len(shared)} {what}s, such as {min(shared)[:80]!r}:"
                " tuning and reporting need different talks"
            )


def _talks(segments: Sequence[Segment]) -> set[str]:
    return {segment.talk for segment in segments} - {""}


def _sounds(segments: Sequence[Segment]) -> set[str]:
    """Files are enough: a long file cut in two is one talk."""
    return {str(segment.audio) for segment in segments if segment.audio is not None}


def _sentences(segments: Sequence[Segment]) -> set[str]:
    """Sentences of six words and more: "Thank you." is said in every talk."""
    return {f"{s.source} → {s.reference}" for s in segments if len(s.source.split()) >= 6 and s.reference}
