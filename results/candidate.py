"""A candidate: a policy that was evaluated, with its exact bytes and its scores. One row of a run's table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SCORED = "scored"  # COMET on all segments of the run: only these are on fronts, selected and compared
PRUNED = "stopped"  # given up at an early rung; the value in files is older than the name
HELD_OUT = "held-out"  # recovered by training on some of the run's talks, and scored on the others only
FAILED = "failed"
STATUS_WORDS = {SCORED: "scored", PRUNED: "pruned", HELD_OUT: "held-out", FAILED: "failed"}  # for messages, reports
STATUSES = tuple(STATUS_WORDS)
MOST = 2**60  # no number of a row is as large
MEASURED = ("comet_low", "comet_high", "chrf", "bleu", "bits_per_weight", "cached_seconds_per_segment")


@dataclass(frozen=True)
class Candidate:
    """Everything that is known of one candidate. The first block is the columns of `pareto.csv`, in their order.

    `segments` and `comet` of a pruned or held-out candidate are those of the part that was scored (0 and NaN at rung
    "kl").
    """

    candidate: str
    recipe: str  # "search", "original", or the name of the recipe the policy comes from
    bin: str  # the bin its bytes fall into, "-" for none
    bytes: int  # of the artifact, every file counted
    comet: float
    comet_low: float  # 95 % bootstrap interval
    comet_high: float
    chrf: float
    bleu: float
    segments: int
    parameters: int  # that remain
    bits_per_weight: float  # 8 × bytes / parameters
    layers_dropped: int
    vocabulary: str
    cached_seconds_per_segment: float  # of translating during the search: what caches held took no time
    policy: str  # path of the policy's JSON, relative to the run's folder
    signature: str

    status: str = SCORED
    error: str = ""
    rung: str = "all"  # last one finished: "kl" (divergence only), "part" (COMET on some segments), "all"
    parent: str = ""  # the candidate a recovery started from
    kl: float = math.nan  # divergence from the original's outputs, nats a token; NaN where it was not measured
    attempts: int = 1  # how often it was started: more than 1 after a worker died of it
    order: int = 0  # in which it was finished
    seconds: float = 0.0  # from the start of the run
    predicted: float = 0.0  # COMET the sampler expected, 0 where it expected nothing
    audited: bool = False  # would have been pruned, and was scored as a check
    comet_segments: tuple[float, ...] = field(default=(), repr=False)
    hypotheses: tuple[str, ...] = field(default=(), repr=False)

    @property
    def comparable(self) -> bool:
        """Whether its COMET can be compared with others': scored on all segments, and finite."""
        return self.status == SCORED and math.isfinite(self.comet)

    @property
    def invalid_value(self) -> str:
        """A value that cannot have been measured, in words; empty for none. The file of a row may be damaged."""
        for name, value in vars(self).items():
            if isinstance(value, int) and not 0 <= value < MOST:
                return f"{name} is {value}"
            if isinstance(value, float) and abs(value) >= MOST and name != "kl":  # infinite where outputs were
                return f"{name} is {value}"
        if not self.comparable:
            return ""
        if not self.bytes:
            return "bytes is 0, and it was scored"
        holes = [name for name in MEASURED if not math.isfinite(getattr(self, name))]
        if not all(map(math.isfinite, self.comet_segments)):
            holes.append("comet_segments")
        return f"{holes[0]} is no number, and it was scored" if holes else ""

    @property
    def short_vocabulary(self) -> str:
        """For people: without the digest of the texts that `top:N` was counted in."""
        return ":".join(self.vocabulary.split(":")[:2])

    @property
    def status_word(self) -> str:
        """The status as messages and reports show it."""
        return STATUS_WORDS[self.status]


CSV_COLUMNS = tuple(Candidate.__dataclass_fields__)[:17]
