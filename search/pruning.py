"""Which candidates are pruned, and when: a candidate advances only if it may beat the front. Pure decisions.

The rungs are KL to the original (one forward pass, no generation) → COMET on a part of the segments → COMET on all. At
the first a candidate's COMET is forecast from its KL, from KL and COMET of the candidates that were scored; at the
second its segments are compared in pairs with those of the front's candidate at its size. A few candidates that would
be pruned are scored anyway: an audit of how often pruning is a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cluster.jobs import KL
from results.candidate import FAILED, PRUNED, SCORED, Candidate
from search.sampling.quality_model import FLOOR, observed_damage

CHANCE = 0.25  # of beating the front at its size, below which a candidate is pruned at its KL
PART_CHANCE = 0.05  # the same at the second rung, where a mistake loses more
SHARE = 0.25  # of the suggested candidates, how many may be scored on all segments for the sake of their KL,
HEAD_START = 2  # and so many more
AUDIT = 0.05  # share of the pruned that are scored anyway
# Before anything is scored: log damage = mean − 5 + 0.9 (log KL − log .001), with a wide spread
PRIOR_MEAN, PRIOR_SPREAD = np.array([-5.0, 0.9]), np.array([1.5, 0.4])
PIVOT = math.log(1e-3)
LEAST_SPREAD = 0.25  # of a log damage around the line


@dataclass
class Forecast:
    """COMET from KL: a Bayesian line of log damage over log KL through the scored candidates."""

    original: float  # COMET of the original
    points: list[tuple[float, float]] = field(default_factory=list)  # (log KL − PIVOT, log damage)

    def learn(self, kl: float, comet: float) -> None:
        """A scored candidate; ignored where KL or COMET is no usable number."""
        if math.isfinite(kl) and kl > 0 and math.isfinite(comet):
            damage = max(observed_damage(comet, self.original), 0.0)
            self.points.append((math.log(kl) - PIVOT, math.log(damage + FLOOR)))

    def log_damage(self, kl: float) -> tuple[float, float]:
        """Mean and spread of log (damage + FLOOR)."""
        x = math.log(max(kl, 1e-9)) - PIVOT
        row = np.array([1.0, x])
        precision, pull = np.diag(PRIOR_SPREAD**-2.0), PRIOR_MEAN * PRIOR_SPREAD**-2.0
        spread = LEAST_SPREAD
        if self.points:
            # points near this KL weigh more: over five decades the relation is a line only locally
            xs, ys = np.array(self.points).T
            weights = np.exp(-0.5 * ((xs - x) / 1.0) ** 2)
            matrix = np.stack([np.ones_like(xs), xs], axis=1)
            precision = precision + (matrix.T * weights / LEAST_SPREAD**2) @ matrix
            pull = pull + (matrix.T * weights / LEAST_SPREAD**2) @ ys
            fitted = np.linalg.solve(precision, pull)
            residuals = ys - matrix @ fitted
            spread = max(LEAST_SPREAD, float(np.sqrt((weights * residuals**2).sum() / max(weights.sum(), 1.0))))
        mean = float(row @ np.linalg.solve(precision, pull))
        return mean, float(np.sqrt(row @ np.linalg.solve(precision, row) + spread**2))

    def chance(self, kl: float, comet: float) -> float:
        """Probability that a candidate of this KL has a higher COMET than `comet`."""
        mean, spread = self.log_damage(kl)
        limit = math.log(max(observed_damage(comet, self.original), 0.0) + FLOOR)
        return _normal_cdf((limit - mean) / spread)


def paired_chance(part: Sequence[float], rival: Sequence[float], total: int) -> float:
    """Probability of a higher mean over all `total` segments than the rival's, from both scores on the same part.

    The mean difference over all segments varies around that over the part as in drawing without replacement.
    """
    difference = np.asarray(part, dtype=float) - np.asarray(rival, dtype=float)
    count = len(difference)
    if count < 2 or total <= count:
        return 1.0 if float(difference.sum()) > 0 else 0.5 if count < 2 else 0.0
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    error = spread * math.sqrt((1 - count / total) / count)
    return _normal_cdf(mean / error) if error > 0 else float(mean > 0)


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@dataclass
class RungStats:
    """How many candidates came how far."""

    suggested: int = 0
    at_kl: int = 0  # pruned there
    at_part: int = 0
    full: int = 0  # scored on all segments
    audited: int = 0  # would have been pruned, were scored anyway
    mistaken: int = 0  # of those, how many are on the front

    @classmethod
    def of(cls, searched: Iterable[Candidate], front: Collection[str] = ()) -> RungStats:
        """From the rows of a search. A policy that comes again was pruned, and suggested then."""
        stats, policies = cls(), set()
        for row in searched:
            stats.suggested += row.policy not in policies
            policies.add(row.policy)
            stats.at_kl += row.status == PRUNED and row.rung == KL
            stats.at_part += row.status == PRUNED and row.rung != KL
            stats.full += row.status == SCORED or (row.status == FAILED and math.isfinite(row.kl))
            stats.audited += row.audited
            stats.mistaken += row.audited and row.candidate in front
        return stats

    def may_score(self) -> bool:
        """Whether the share of candidates scored in full has room for one more."""
        return self.full < HEAD_START + SHARE * self.suggested

    def summary(self) -> str:
        """One line; empty where nothing was pruned or audited."""
        pruned = self.at_kl + self.at_part
        if not pruned and not self.audited:
            return ""
        ended = pruned + self.full
        text = f"pruned {pruned} of {ended} ({pruned / max(ended, 1):.0%}): {self.at_kl} at KL, {self.at_part} at part"
        if self.audited:
            pareto = f"{self.mistaken} {'was' if self.mistaken == 1 else 'were'} Pareto-optimal"
            text += f"; as a check, {self.audited} of them were scored all the same: {pareto}"
        return text


def choose_part(total: int, share: float = 0.25) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Segments of the second rung, spread evenly over all of them, and the rest."""
    count = max(1, round(total * share))
    part = {round((number + 0.5) * total / count - 0.5) for number in range(count)}
    return tuple(sorted(part)), tuple(index for index in range(total) if index not in part)
