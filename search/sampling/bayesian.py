"""The bayesian sampler: a quality model, a target size, and an exact allocator, behind Optuna's BaseSampler.

Optuna's own samplers find almost no good policy among 132 categorical parameters, and none inside a bin. This one
never leaves the bin. It draws the cost of every action from its quality model (quality_model.py), and either lets the
allocator fill a target size at the least cost, or moves bytes between a few units of one of the best policies so far.
KL to the original is cheap and tells how good a policy is long before COMET does: a policy that was pruned after its
KL is suggested again once it is the most promising of those never scored. A suggestion takes milliseconds; parallel
suggestions differ because each draws again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from compress.sizes import Bin
from results.pareto import front_indices, hypervolume
from search.pruning import CHANCE, Forecast
from search.sampling.base import PolicySampler, bin_of_trial
from search.sampling.observations import Observation, Observations
from search.sampling.quality_model import FLOOR, LEAST, QualityModel, observed_damage
from search.space.allocate import ActionCosts, allocate, fill
from search.space.constraint import SizeConstraint
from search.space.space import Choice

SPREAD = 0.6  # of a draw from the posterior: below 1 leans to what is known
WARM = 32  # KLs measured before the first candidate is scored for its KL
AT_TOP = 0.5  # share of suggestions, and of promotions, that go for the best COMET of the bin: its very top
AT_BOTTOM = 0.5  # of the other suggestions while warming up: the lower end of the front
BOTTOM = 0.2  # share of the bin that is its lower end
SIZES = 6  # target sizes compared for each suggestion
MUTATIONS = 0.7  # share of suggestions that change one of the best policies, once there are some
PROPOSALS = 24  # mutations compared for each one suggested
CHECKED = 4  # of them, how many have their exact bytes computed
ATTEMPTS = 12
PARENT_CANDIDATES = 400  # policies of a bin that may be parents, the newest
PARENT_RANK = 1.5  # rank of a parent among the best (mean of an exponential)


class BayesianSampler(PolicySampler):
    """`original`, COMET of the original, is what damage is relative to. It learns by `learn` and `learn_kl`, and from
    completed trials that carry their parameters."""

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
        self.observations = Observations(constraint.space, bins)
        self.may_score: Callable[[], bool] | None = None  # with a KL rung: whether one more candidate may be scored
        self.warm_after = WARM
        self._suggested: set[bytes] = set()  # keys of choices that were suggested or measured

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        if self.warm and self.may_score is not None and self.may_score():
            observation = self.best_unscored(bin_of_trial(self.bins, trial))
            if observation is not None:
                observation.pending = True
                return self.constraint.space.parameters(observation.choice)
        return super().sample_relative(study, trial, search_space)

    def after_trial(self, study: Any, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Learns from a completed trial, unless its COMET was learned before."""
        if values is not None and trial.params:
            observation = self.observations.get(self.constraint.space.from_parameters(trial.params))
            if observation is not None and observation.comet == values[0]:
                return
        super().after_trial(study, trial, state, values)

    # What it learns from

    def learn(self, choice: Choice, size: int, comet: float) -> None:
        """A scored candidate of this or an earlier run, or a recipe whose levels are in the space."""
        self._suggested.add(self.constraint.space.key(choice))
        observation = self.observations.add_comet(choice, size, comet)
        self.quality_model.learn(choice, observed_damage(comet, self.original))
        self.forecast.learn(observation.kl, comet)

    def learn_kl(self, choice: Choice, size: int, kl: float) -> None:
        """A candidate's KL to the original; ignored where it has one already."""
        self._suggested.add(self.constraint.space.key(choice))
        if self.observations.add_kl(choice, size, kl):
            self.quality_model.learn_kl(choice, kl)

    def mark_failed(self, choice: Choice) -> None:
        """A candidate that failed: not to be suggested again."""
        self._suggested.add(self.constraint.space.key(choice))
        self.observations.remove(choice)

    @property
    def warm(self) -> bool:
        """Whether enough KLs are known for the best of them to be worth a score."""
        return self.observations.kls >= self.warm_after

    # What it suggests

    def suggest(self, size_bin: Bin) -> Choice:
        """A choice inside the bin that was never suggested before (unless the bin holds no other)."""
        space, constraint = self.constraint.space, self.constraint
        inside: Choice | None = None
        for attempt in range(ATTEMPTS):
            costs = self.quality_model.draw(self._generator, spread=SPREAD * (1.0 + 0.25 * attempt))
            target = self._target(size_bin, costs)
            mutate = self._generator.random() < MUTATIONS
            choice = self._mutate_in_budget(size_bin, costs, target) if mutate else None
            if choice is None:
                choice = constraint.fill(costs, target, size_bin)
            if choice is None:
                continue
            inside = choice
            if space.key(choice) not in self._suggested:
                break
        else:
            start = self._perturb(inside or constraint.smallest())
            inside = constraint.repair(start, size_bin, self._generator) or inside
        if inside is None:
            raise RuntimeError(f"no policy found inside {size_bin.name}")
        self._suggested.add(space.key(inside))
        return inside

    def best_unscored(self, size_bin: Bin) -> Observation | None:
        """The most promising policy that has a KL but no COMET, if any has a chance: with equal probability the one of
        least KL, or of the greatest expected gain of the front."""
        measured = [each for each in self.observations.inside(size_bin) if math.isfinite(each.kl)]
        front = self.observations.front(size_bin)
        best, highest = None, 0.0
        least_kl = not front or self._generator.random() < AT_TOP
        if front and (small := self._unscored_bottom(size_bin, measured, front)):
            measured, least_kl = small, True
        for index in front_indices([(each.size, -each.kl) for each in measured]):
            observation = measured[index]
            if observation.pending or observation.scored:
                continue
            rival = max((comet for size, comet in front if size <= observation.size), default=0.0)
            chance = self.forecast.chance(observation.kl, rival)
            expected = max(self._forecast_comet(observation.kl), rival + 1e-4)
            gain = self._gain(front, size_bin, observation.size, expected)
            promise = 1.0 / max(observation.kl, LEAST) if least_kl else chance * gain
            if chance >= CHANCE and promise > highest:
                best, highest = observation, promise
        return best

    def _lowest(self, size_bin: Bin) -> int:
        """The least bytes of a policy inside the bin."""
        return max(size_bin.low, self.constraint.size(self.constraint.smallest()))

    def _unscored_bottom(
        self, size_bin: Bin, measured: list[Observation], front: list[tuple[float, float]]
    ) -> list[Observation]:
        """The measured policies at the bin's lower end, as long as none so small was scored."""
        low = self._lowest(size_bin)
        limit = low + BOTTOM * (size_bin.high - low)
        if any(size <= limit for size, _ in front):
            return []
        return [each for each in measured if each.size <= limit]

    def _forecast_comet(self, kl: float) -> float:
        return self.original * float(np.exp(FLOOR - np.exp(self.forecast.log_damage(kl)[0])))

    @staticmethod
    def _gain(front: list[tuple[float, float]], size_bin: Bin, size: float, comet: float) -> float:
        """Hypervolume that one more point adds to a front."""
        worst = (size_bin.high, 0.0)
        return hypervolume([*front, (size, comet)], worst) - hypervolume(front, worst)

    def _target(self, size_bin: Bin, costs: ActionCosts) -> float:
        """A size inside the bin: its top, or one of several random sizes, in proportion to the front's gain there."""
        low = self._lowest(size_bin)
        high = size_bin.high - 1
        if self._generator.random() < AT_TOP:
            return float(high)
        if 0 < self.observations.kls < self.warm_after and self._generator.random() < AT_BOTTOM:
            return low + BOTTOM * (high - low) * self._generator.random()
        sizes = low + (high - low) * (np.arange(SIZES) + self._generator.random(SIZES)) / SIZES
        sizes[-1] = high
        overhead = self.constraint.overhead(self.constraint.smallest())
        front = self.observations.front(size_bin)
        gains = np.zeros(SIZES)
        for index, size in enumerate(sizes):
            choice = allocate(self.constraint.space, costs, size - overhead)
            if choice is not None:
                comet = self.original * float(np.exp(-self.quality_model.expect(choice)))
                gains[index] = self._gain(front, size_bin, size, comet)
        if gains.sum() <= 0:
            return float(sizes[-1] if self._generator.random() < 0.5 else self._generator.choice(sizes))
        return float(self._generator.choice(sizes, p=gains / gains.sum()))

    def _parents(self, size_bin: Bin, target: float) -> list[Observation]:
        """The newest policies of the bin no larger than the target, the least KL first (else the best COMET)."""
        newest = (each for each in reversed(self.observations.inside(size_bin)) if each.size <= target)
        parents = list(itertools.islice(newest, PARENT_CANDIDATES))[::-1]
        if any(math.isfinite(each.kl) for each in parents):
            parents = [each for each in parents if math.isfinite(each.kl)]
            ranking = [each.kl for each in parents]
        else:
            ranking = [-each.comet for each in parents]
        return [parents[index] for index in np.argsort(ranking)]

    def _mutate_in_budget(self, size_bin: Bin, costs: ActionCosts, target: float) -> Choice | None:
        """One of the best policies with bytes moved between a few units, the best of some proposals."""
        parents = self._parents(size_bin, target)
        if len(parents) < 3:
            return None
        space = self.constraint.space
        parent = parents[min(int(self._generator.exponential(PARENT_RANK)), len(parents) - 1)]
        overhead = parent.size - space.variable_bytes(parent.choice)
        perturbed = [self._perturb(parent.choice, count=int(self._generator.integers(1, 4))) for _ in range(PROPOSALS)]
        perturbed = [choice for choice in perturbed if space.variable_bytes(choice) + overhead <= target]
        filled = fill(space, costs, perturbed, target - overhead) if perturbed else []
        proposals = [(costs.total(space, each), each) for each in filled if space.key(each) not in self._suggested]
        proposals.sort(key=lambda proposal: proposal[0])
        for _, choice in proposals[:CHECKED]:
            if size_bin.holds(self.constraint.size(choice)):
                return choice
        return None

    def _perturb(self, choice: Choice, count: int = 3) -> Choice:
        """`count` random units one or two levels down, sometimes a layer dropped or restored, or another vocabulary."""
        space = self.constraint.space
        columns, dropped = choice.columns.copy(), choice.dropped.copy()
        order = np.argsort(space.sizes, axis=1)
        for row in self._generator.choice(len(columns), size=min(count, len(columns)), replace=False):
            rank = int(np.flatnonzero(order[row] == columns[row])[0])
            columns[row] = order[row, max(rank - int(self._generator.integers(1, 3)), 0)]
        if space.droppable.any() and self._generator.random() < 0.15:
            layer = self._generator.choice(np.flatnonzero(space.droppable))
            dropped[layer] = not dropped[layer]
        return self._maybe_other_vocabulary(Choice(columns, dropped, choice.vocabulary))
