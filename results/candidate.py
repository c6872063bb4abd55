"""A candidate: a policy that was tried, its exact bytes and its scores. One row of a run's table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SCORED = "scored"  # on all segments of the run: what fronts, choices and comparisons are made of
PRUNED = "stopped"  # given up at an early rung, for want of a chance against the front
FAILED = "failed"
STATUSES = (SCORED, PRUNED, FAILED)
RUNGS = ("kl", "part", "all")  # divergence only; COMET on some segments; COMET on all


@dataclass(frozen=True)
class Candidate:
    """Everything that is known of one candidate. The first block is what `pareto.csv` shows, in its order.

    A stopped candidate's `segments` and `comet` are those of the part that was scored (0 and NaN at rung "kl").
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
    seconds_per_segment: float
    policy: str  # path of the policy's JSON, relative to the run's folder
    signature: str

    status: str = SCORED
    error: str = ""
    rung: str = "all"  # the last one it went through
    parent: str = ""  # the candidate a recovery started from
    kl: float = math.nan  # divergence to the original's outputs, nats a token; NaN where it was not measured
    attempts: int = 1  # how often it was started: more than 1 after a worker died of it
    order: int = 0  # in which it was finished
    seconds: float = 0.0  # from the start of the run
    predicted: float = 0.0  # COMET the sampler expected, 0 where it expected nothing
    comet_segments: tuple[float, ...] = field(default=(), repr=False)
    hypotheses: tuple[str, ...] = field(default=(), repr=False)


CSV_COLUMNS = tuple(name for name in Candidate.__dataclass_fields__)[:17]
