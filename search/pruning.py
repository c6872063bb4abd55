"""Rungs: fidelity grows only for those who deserve it. Pure decisions.

KL to the original (one forward pass, no generation) → COMET on a part of the segments → COMET on all. At the first
rung a candidate's COMET is forecast from its KL, by what KL and COMET were of those that were scored; at the second
its segments are paired with those of the front's candidate at its size. It goes on while that leaves it a chance. A
few that would be stopped are let through: an audit of how often that is a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from search.sampling.quality_model import FLOOR, observed

CHANCE = 0.25  # of beating the front at its size, below which a candidate stops at its KL
PART_CHANCE = 0.05  # the same at the second rung, where a wrong stop loses more
SHARE = 0.25  # of the candidates asked that may be scored in full for the sake of their KL, and so many more:
HEAD_START = 2
AUDIT = 0.05  # share of the stopped that are let through
# Before anything is scored: log damage = mean − 5 + 0.9 (log KL − log .001), and loosely
PRIOR_MEAN, PRIOR_SPREAD = np.array([-5.0, 0.9]), np.array([1.5, 0.4])
PIVOT = math.log(1e-3)
LEAST_SPREAD = 0.25  # of a log damage round the line


@dataclass
class Forecast:
    """COMET from KL: a Bayesian line of log damage over log KL through the scored candidates."""

    original: float
    points: list[tuple[float, float]] = field(default_factory=list)

    def learn(self, kl: float, comet: float) -> None:
        if math.isfinite(kl) and kl > 0 and math.isfinite(comet):
            damage = max(observed(comet, self.original), 0.0)
            self.points.append((math.log(kl) - PIVOT, math.log(damage + FLOOR)))

    def log_damage(self, kl: float) -> tuple[float, float]:
        """Mean and spread of log (damage + FLOOR)."""
        x = math.log(max(kl, 1e-9)) - PIVOT
        row = np.array([1.0, x])
        precision, pull = np.diag(PRIOR_SPREAD**-2.0), PRIOR_MEAN * PRIOR_SPREAD**-2.0
        spread = LEAST_SPREAD
        if self.points:
            # nearby points tell about this KL: a line over five decades is only straight in pieces
            xs, ys = np.array(self.points).T
            weights = np.exp(-0.5 * ((xs - x) / 1.0) ** 2)
            matrix = np.stack([np.ones_like(xs), xs], axis=1)
            precision = precision + (matrix.T * weights / LEAST_SPREAD**2) @ matrix
            pull = pull + (matrix.T * weights / LEAST_SPREAD**2) @ ys
            fitted = np.linalg.solve(precision, pull)
            rest = ys - matrix @ fitted
            spread = max(LEAST_SPREAD, float(np.sqrt((weights * rest**2).sum() / max(weights.sum(), 1.0))))
        mean = float(row @ np.linalg.solve(precision, pull))
        return mean, float(np.sqrt(row @ np.linalg.solve(precision, row) + spread**2))

    def chance(self, kl: float, best: float) -> float:
        """Of a COMET above `best`."""
        mean, spread = self.log_damage(kl)
        aim = math.log(max(observed(best, self.original), 0.0) + FLOOR)
        return normal((aim - mean) / spread)


def paired_chance(part: Sequence[float], rival: Sequence[float], total: int) -> float:
    """Of a higher mean over all `total` segments than the rival's, from both scores on the same part of them.

    The mean difference over all varies round that over the part as drawing without replacement has it.
    """
    difference = np.asarray(part, dtype=float) - np.asarray(rival, dtype=float)
    count = len(difference)
    if count < 2 or total <= count:
        return 1.0 if float(difference.sum()) > 0 else 0.5 if count < 2 else 0.0
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    error = spread * math.sqrt((1 - count / total) / count)
    return normal(mean / error) if error > 0 else float(mean > 0)


def normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@dataclass
class RungStats:
    """How the rungs did: for the record, and for the audit."""

    asked: int = 0
    at_kl: int = 0  # stopped there
    at_part: int = 0
    full: int = 0  # scored on all segments
    audited: int = 0  # would have been stopped, were scored all the same
    mistaken: int = 0  # of those, how many came to stand on the front

    def may_score(self) -> bool:
        """Whether the share of candidates scored in full leaves room for one more."""
        return self.full < HEAD_START + SHARE * self.asked

    def told(self) -> str:
        stopped = self.at_kl + self.at_part
        if not stopped and not self.audited:
            return ""
        share = stopped / max(stopped + self.full, 1)
        where = f"{self.at_kl} at KL, {self.at_part} at part"
        text = f"stopped early {stopped} of {stopped + self.full} ({share:.0%}): {where}"
        if self.audited:
            text += f"; audit: {self.mistaken} of {self.audited} let through came to stand on the front"
        return text


def choose_part(total: int, share: float = 0.25) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Segments of the second rung, spread evenly over all of them, and the rest."""
    count = max(1, round(total * share))
    part = {round((number + 0.5) * total / count - 0.5) for number in range(count)}
    return tuple(sorted(part)), tuple(index for index in range(total) if index not in part)
