"""Whether an exported artifact does what its row says: the same metric, translations and scores, segment by segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.errors import UserError
from results.candidate import Candidate
from results.compatibility import parts_of

SAME_TEXT = 1e-4  # COMET of the same text in another batch may differ by this; on a CPU it differs by 1e-7
# (share of the segments, mean COMET) that may differ because floating point decides a near tie of two tokens otherwise.
# Measured on five candidates, four in bfloat16 (COMET .28 to .97), at batches 1, 8 and 64 against 64: in float32 none
# of 64 translations differed; in bfloat16 up to 12 did, and moved the mean by up to .008.
IN_FLOAT32, IN_HALF = (0.02, 0.001), (0.25, 0.01)


@dataclass(frozen=True)
class Agreement:
    """What the artifact scored against its row."""

    comet: float
    row: float
    differing: int  # segments with another translation
    segments: int
    same_texts_drift: float  # greatest difference of COMET over segments with the same translation

    @property
    def difference(self) -> float:
        return self.comet - self.row


def compare_with_row(row: Candidate, hypotheses: Sequence[str], scores: Sequence[float]) -> Agreement:
    """Compares segment by segment. Raises UserError if the number of segments differs."""
    if not row.comet_segments or len(row.comet_segments) != len(scores):
        raise UserError(
            f"candidate {row.candidate} was scored on {len(row.comet_segments)} segments, the artifact on"
            f" {len(scores)}: this is not the data of the run"
        )
    pairs = list(zip(row.hypotheses, hypotheses, row.comet_segments, scores, strict=True))
    same = [abs(then - now) for before, after, then, now in pairs if before == after]
    mean = sum(scores) / len(scores)
    return Agreement(mean, row.comet, sum(a != b for a, b, _, _ in pairs), len(pairs), max(same, default=0.0))


def tolerances(config: Mapping[str, Any], dtype: str) -> tuple[float, float]:
    """Share of translations and mean COMET that may differ: far less if run and artifact computed in float32."""
    on_gpu = str(config.get("device", "cpu")) != "cpu" or float(config.get("gpus_per_worker") or 0) > 0
    return IN_HALF if on_gpu or dtype != "float32" else IN_FLOAT32


def check_agreement(agreement: Agreement, flipped: float, drift: float) -> None:
    """Raises UserError for a difference that floating point on another batch size or device does not explain."""
    texts = f"{agreement.differing} of {agreement.segments} translations differ"
    difference = f"COMET {agreement.comet:.6f}, its row says {agreement.row:.6f}; {texts}"
    if agreement.same_texts_drift > SAME_TEXT:
        raise UserError(
            f"the artifact is not scored as its row was: COMET of the same text differs by"
            f" {agreement.same_texts_drift:.6f}; {difference}"
        )
    if abs(agreement.difference) > drift or agreement.differing > max(1, flipped * agreement.segments):
        raise UserError(
            f"the artifact does not do what its row says: {difference}; floating point on another batch size or device"
            f" explains {drift:g} COMET and {flipped:.0%} of the translations (--tolerance allows more COMET)"
        )


def check_checkpoint(row: Candidate, identity: Mapping[str, str]) -> None:
    """Raises UserError for another COMET checkpoint or version than the row's: their scores are not comparable."""
    signed = parts_of(row.signature)
    for name, value in (("digest", identity["digest"]), ("comet", identity["version"])):
        if signed.get(name, value) != value:
            raise UserError(
                f"this COMET is not the one of the row ({name} {value}, there {signed[name]}): give it with --comet"
            )
