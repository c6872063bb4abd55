"""The bayesian sampler, on Optuna's own BaseSampler: quality_model about damage, a target size, an exact allocator.

Stock samplers are lost among 132 categorical parameters and find no feasible policy at all. This one never leaves
the bin. It draws damages from its quality_model (quality_model) and either lets the allocator (allocate) fill a target
size with the least of them, or moves bytes between a few units of one of the best policies so far; KL to the original,
which is cheap, tells how good a policy is long before COMET does. A policy that was stopped at its KL is suggested
once more when it has become the most best_unscored that was never scored. Milliseconds an ask; parallel asks differ
because each draws anew.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from compress.sizes import Bin
from results.pareto import front_indices, hypervolume
from search.pruning import CHANCE, Forecast
from search.sampling.base import PolicySampler
from search.sampling.quality_model import FLOOR, LEAST, QualityModel, observed
from search.space.allocate import Damage, allocate, fill_all
from search.space.constraint import SizeConstraint
from search.space.space import Choice

SPREAD = 0.6  # of a draw from the posterior: below 1 leans to what is known
WARM = 32  # KLs measured before the first candidate is scored for its KL
AT_TOP = 0.5  # share of suggestions, and of promotions, that go for the best COMET of the bin: its very top
AT_BOTTOM = 0.5  # of the other suggestions while warming up: the lower end of the front
BOTTOM = 0.2  # share of the bin that is its lower end
SIZES = 6  # target sizes weighed against each other for each suggestion
TRADES = 0.7  # share of suggestions that change one of the best policies, once there are some
PROPOSALS = 24  # trades looked at for each one suggested
CHECKED = 4  # of them, those whose exact bytes are looked at
ATTEMPTS = 12
REMEMBERED = 400  # policies of a bin that may be parents, the newest
PARENTS = 1.5  # how far down the list of the best a parent may stand (mean of an exponential)


@dataclass
class Observation:
    """What was measured of a choice. `kl` and `comet` are NaN as long as they were not."""

    choice: Choice
    size: int
    kl: float = float("nan")
    comet: float = float("nan")
    pending: bool = False  # is being scored


class BayesianSampler(PolicySampler):
    """`original`, COMET of the original, is what damage is measured against. Besides what trials tell (the engine's
    carry no parameters), it is told by `learn` and `learn_kl`."""

    def __init__(
        self,
        constraint: SizeConstraint,
        bins: Sequence[Bin],
        quality_model: QualityModel,
        seed: int = 0,
        original: float = 1.0,
    ) -> None:
        super().__init__(constraint, bins, seed)
        self.quality_model = quality_model
        self.original = original
        self.forecast = Forecast(original)
        self.known: dict[bytes, Observation] = {}
        self._inside: dict[str, list[Observation]] = {each.name: [] for each in self.bins}
        self._fronts: dict[str, list[tuple[float, float]]] = {each.name: [] for each in self.bins}
        self._probed = 0  # of those known, how many have a KL
        self.may_score: Callable[[], bool] | None = None  # where candidates climb rungs: is there room to score one?
        self.warm_after = WARM
        self._asked: set[bytes] = set()

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        if self.warm and self.may_score is not None and self.may_score():
            entry = self.best_unscored(self.turn(trial))
            if entry is not None:
                entry.pending = True
                return self.constraint.space.parameters(entry.choice)
        return super().sample_relative(study, trial, search_space)

    def after_trial(self, study: Any, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Learns from a scored trial that it was not told of by `learn`."""
        if state == TrialState.COMPLETE and values is not None and trial.params:
            observation = self.known.get(self.constraint.space.key(self.constraint.space.from_parameters(trial.params)))
            if observation is None or not math.isfinite(observation.comet):
                super().after_trial(study, trial, state, values)

    # What it learns from

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        """A scored candidate of this or an earlier run, or a recipe whose levels lie in the space."""
        entry = self._entry(choice, size)
        anew = math.isfinite(entry.comet)
        entry.comet = comet
        self._renew_fronts(entry, anew)
        self.quality_model.learn(choice, observed(comet, self.original))
        self.forecast.learn(entry.kl, comet)

    def learn_kl(self, choice: Choice, size: int, kl: float) -> None:
        """A candidate's KL to the original."""
        entry = self._entry(choice, size)
        if not np.isfinite(entry.kl):
            entry.kl = kl
            self._probed += math.isfinite(kl)
            self.quality_model.learn_kl(choice, kl)

    def mark_failed(self, choice: Choice) -> None:
        """A candidate that failed: not to be suggested any more."""
        key = self.constraint.space.key(choice)
        self._asked.add(key)
        entry = self.known.pop(key, None)
        if entry is None:
            return
        self._probed -= math.isfinite(entry.kl)
        for name, entries in self._inside.items():
            self._inside[name] = [each for each in entries if each is not entry]
        self._renew_fronts(entry)

    def _entry(self, choice: Choice, size: int) -> Observation:
        key = self.constraint.space.key(choice)
        self._asked.add(key)
        if key not in self.known:
            self.known[key] = Observation(choice, size)
            for each in self.bins:
                if each.holds(size):
                    self._inside[each.name].append(self.known[key])
        return self.known[key]

    def _renew_fronts(self, entry: Observation, anew: bool = True) -> None:
        """After one more score; from all scores where one changed or went."""
        for each in self.bins:
            if each.holds(entry.size):
                points = [*self._fronts[each.name], (entry.size, entry.comet)]
                if anew:
                    points = [(k.size, k.comet) for k in self._inside[each.name] if math.isfinite(k.comet)]
                self._fronts[each.name] = [points[index] for index in front_indices(points)]

    @property
    def warm(self) -> bool:
        """Whether enough KLs are known for the best of them to be worth a score."""
        return self._probed >= self.warm_after

    # What it suggests

    def suggest(self, into: Bin) -> Choice:
        """A choice inside the bin that was never asked for before (unless the bin holds no other)."""
        found = None
        for attempt in range(ATTEMPTS):
            damage = self.quality_model.draw(self._generator, spread=SPREAD * (1.0 + 0.25 * attempt))
            target = self._target(into, damage)
            choice = self._mutate_in_budget(into, damage, target) if self._generator.random() < TRADES else None
            if choice is None:
                choice = self.constraint.fill(damage, target, into)
            if choice is None:
                continue
            found = choice
            if self.constraint.space.key(choice) not in self._asked:
                break
        else:
            start = found or self.constraint.smallest()
            found = self.constraint.repair(self._perturb(start), into, self._generator) or found
        if found is None:
            raise RuntimeError(f"no policy found inside {into.name}")
        self._asked.add(self.constraint.space.key(found))
        return found

    def best_unscored(self, into: Bin) -> Observation | None:
        """Of the policies never scored, one whose KL promises much, if any has a chance: the least KL of all, or the
        greatest gain of the front."""
        near = [k for k in self._inside[into.name] if math.isfinite(k.kl)]
        front = self._fronts[into.name]
        best, most = None, 0.0
        for_the_top = not front or self._generator.random() < AT_TOP
        if front and (low := self._bottom(into, near, front)):  # the front's lower end, once there is something at all
            near, for_the_top = low, True
        for index in front_indices([(k.size, -k.kl) for k in near]):
            entry = near[index]
            if entry.pending or np.isfinite(entry.comet):
                continue
            rival = max((comet for size, comet in front if size <= entry.size), default=0.0)
            chance = self.forecast.chance(entry.kl, rival)
            gain = self._gain(front, into, entry.size, max(self._forecast_comet(entry.kl), rival + 1e-4))
            promise = 1.0 / max(entry.kl, LEAST) if for_the_top else chance * gain
            if chance >= CHANCE and promise > most:
                best, most = entry, promise
        return best

    def _bottom(self, into: Bin, near: list[Observation], front: list[tuple[float, float]]) -> list[Observation]:
        """The smallest of those whose KL is known, as long as none so small was scored."""
        low = max(into.low, self.constraint.size(self.constraint.smallest()))
        limit = low + BOTTOM * (into.high - low)
        if any(size <= limit for size, _ in front):
            return []
        return [k for k in near if k.size <= limit]

    def _forecast_comet(self, kl: float) -> float:
        return self.original * float(np.exp(FLOOR - np.exp(self.forecast.log_damage(kl)[0])))

    @staticmethod
    def _gain(front: list[tuple[float, float]], into: Bin, size: float, comet: float) -> float:
        """Hypervolume that one more point adds to a front."""
        worst = (into.high, 0.0)
        return hypervolume([*front, (size, comet)], worst) - hypervolume(front, worst)

    def _target(self, into: Bin, damage: Damage) -> float:
        """A size inside the bin: its top, or of some drawn at random, in proportion to the front's gain there."""
        low = max(into.low, self.constraint.size(self.constraint.smallest()))
        high = into.high - 1
        if self._generator.random() < AT_TOP:
            return float(high)
        if 0 < self._probed < self.warm_after and self._generator.random() < AT_BOTTOM:
            return low + BOTTOM * (high - low) * self._generator.random()
        sizes = low + (high - low) * (np.arange(SIZES) + self._generator.random(SIZES)) / SIZES
        sizes[-1] = high
        overhead = self.constraint.size(self.constraint.smallest()) - self.constraint.space.weigh(
            self.constraint.smallest()
        )
        front = self._fronts[into.name]
        gains = np.zeros(SIZES)
        for index, size in enumerate(sizes):
            choice = allocate(self.constraint.space, damage, size - overhead)
            if choice is not None:
                comet = self.original * float(np.exp(-self.quality_model.expect(choice)))
                gains[index] = self._gain(front, into, size, comet)
        if gains.sum() <= 0:
            return float(sizes[-1] if self._generator.random() < 0.5 else self._generator.choice(sizes))
        return float(self._generator.choice(sizes, p=gains / gains.sum()))

    def _parents(self, into: Bin, target: float) -> list[Observation]:
        """The newest policies of the bin no larger than the target, the least KL first (else the best COMET)."""
        newest = (k for k in reversed(self._inside[into.name]) if k.size <= target)
        entries = list(itertools.islice(newest, REMEMBERED))[::-1]
        if any(np.isfinite(k.kl) for k in entries):
            entries = [k for k in entries if np.isfinite(k.kl)]
            worth = [k.kl for k in entries]
        else:
            worth = [-k.comet for k in entries]
        return [entries[index] for index in np.argsort(worth)]

    def _mutate_in_budget(self, into: Bin, damage: Damage, target: float) -> Choice | None:
        """One of the best policies with bytes moved between a few units, the best of some proposals."""
        parents = self._parents(into, target)
        if len(parents) < 3:
            return None
        space = self.constraint.space
        start = parents[min(int(self._generator.exponential(PARENTS)), len(parents) - 1)]
        overhead = start.size - space.weigh(start.choice)
        shaken = [self._perturb(start.choice, count=int(self._generator.integers(1, 4))) for _ in range(PROPOSALS)]
        shaken = [choice for choice in shaken if space.weigh(choice) + overhead <= target]
        filled = fill_all(space, damage, shaken, target - overhead) if shaken else []
        proposals = [(damage.of(space, each), each) for each in filled if space.key(each) not in self._asked]
        proposals.sort(key=lambda each: each[0])
        for _, choice in proposals[:CHECKED]:
            if into.holds(self.constraint.size(choice)):
                return choice
        return None

    def _perturb(self, choice: Choice, count: int = 3) -> Choice:
        """A few random units a level or two down, now and then a layer dropped or restored, or another vocabulary."""
        space = self.constraint.space
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        order = np.argsort(space.sizes, axis=1)
        for row in self._generator.choice(len(columns), size=min(count, len(columns)), replace=False):
            rank = int(np.flatnonzero(order[row] == columns[row])[0])
            columns[row] = order[row, max(rank - int(self._generator.integers(1, 3)), 0)]
        if space.droppable.any() and self._generator.random() < 0.15:
            layer = self._generator.choice(np.flatnonzero(space.droppable))
            dropped[layer] = not dropped[layer]
        return self._other_vocabulary(Choice(columns, dropped, choice.vocabulary))
