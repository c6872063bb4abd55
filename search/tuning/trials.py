"""The trial manager: every candidate of the search, from the sampler's suggestion to its row in the table.

Knows nothing of Ray: the searcher and the scheduler call it, and so do tests and benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster import jobs
from cluster.jobs import Job
from compress import Policy
from results.candidate import FAILED, SCORED, Candidate
from results.series import SEARCH
from search.config import Config
from search.pruning import AUDIT, PART_CHANCE, RungStats, paired_chance
from search.recorder import EvaluatedPolicy, Recorder
from search.sampling.base import distributions
from search.sampling.bayesian import WARM, BayesianSampler
from search.sampling.observations import Observation
from search.sampling.registry import BAYESIAN
from search.space.constraint import SizeConstraint
from search.space.space import Choice
from search.tuning.journal import Journal, JournalEntry


@dataclass
class PendingTrial:
    """A candidate that is being evaluated."""

    name: str
    policy: Policy
    choice: Choice
    parameters: dict[str, str]
    size: int  # bytes of its artifact
    predicted: float  # COMET that the quality model expects
    rungs: tuple[str, ...]
    observation: Observation | None  # what the Bayesian sampler knows of it
    audited: bool = False  # would have been pruned, and is scored all the same
    uniform: bool = False  # one of the uniform policies that a search begins with: always scored
    attempts: int = 1


class TrialManager:
    """Turns suggestions into candidates, decides after each rung whether they go on, records how they end."""

    def __init__(
        self,
        config: Config,
        recorder: Recorder,
        constraint: SizeConstraint,
        bayesian: BayesianSampler,
        count_parameters: Callable[[Policy], int],
        reference: str,
        segments: int,
    ) -> None:
        """`bayesian` predicts every candidate, also where another sampler suggests them. `reference` is the key of the
        reference outputs, `segments` how many segments a candidate is scored on in full."""
        self.config, self.recorder, self.constraint, self.bayesian = config, recorder, constraint, bayesian
        self.count_parameters, self.reference, self.segments = count_parameters, reference, segments
        self.space = constraint.space
        self.bins = recorder.bins
        self.pending: dict[str, PendingTrial] = {}
        self._uniform: set[bytes] = set()  # keys of choices that a search begins with
        searched = recorder.searched()
        self.rung_stats = RungStats.of(searched)
        self.remaining = config.trials - len(searched)  # candidates still to be asked of the sampler
        self._number = max((int(c.candidate[1:]) for c in searched if c.candidate[1:].isdecimal()), default=0)
        self._random = np.random.default_rng([config.seed, len(recorder.candidates)])
        self._learn_from_the_table()
        if config.sampler == BAYESIAN and jobs.KL in config.rungs:
            bayesian.may_score = self.rung_stats.may_score
            bayesian.warm_after = min(WARM, max(1, config.trials // 4))
        self.distributions = distributions(self.space)
        self.journal = Journal(recorder.run_dir.journal, self.distributions, self.earlier(), recorder.run_dir.path.name)

    def begin_with(self, choices: Sequence[Choice]) -> list[dict[str, str]]:
        """Those of the choices that were not scored yet, as Optuna parameters; they will not be pruned."""
        observed = ((choice, self.bayesian.observations.get(choice)) for choice in choices)
        new = [choice for choice, observation in observed if observation is None or not observation.scored]
        new = new[: max(self.remaining, 0)]
        self._uniform |= {self.space.key(choice) for choice in new}
        return [self.space.parameters(choice) for choice in new]

    def start(self, parameters: dict[str, str]) -> PendingTrial:
        """A suggestion becomes a candidate."""
        choice = self.space.from_parameters(parameters)
        size = self.constraint.size(choice)
        if not any(each.holds(size) for each in self.bins):
            raise RuntimeError(f"a policy of {size} bytes lies outside every bin asked for")
        observation = self.bayesian.observations.get(choice)
        rungs = self.config.rungs
        if observation is not None and math.isfinite(observation.kl):  # was pruned, and is now the best unscored one
            rungs = tuple(rung for rung in rungs if rung != jobs.KL)
            self.rung_stats.full += 1
        else:
            self.rung_stats.suggested += 1
        self._number += 1
        self.remaining -= 1
        trial = PendingTrial(
            name=f"c{self._number:05d}",
            policy=self.space.policy(choice),
            choice=choice,
            parameters=parameters,
            size=size,
            predicted=self.bayesian.original * math.exp(-max(self.bayesian.quality_model.expect(choice), 0.0)),
            rungs=rungs,
            observation=observation,
            uniform=self.space.key(choice) in self._uniform,
        )
        self.pending[trial.name] = trial
        return trial

    def job(self, trial: PendingTrial) -> Job:
        """What a worker is asked to do."""
        return jobs.score(trial.policy.to_json(), trial.rungs, self.reference) | {"name": trial.name, "recipe": SEARCH}

    def should_continue(self, trial: PendingTrial, outcome: dict[str, Any]) -> bool:
        """After a rung that is not the last: False prunes the candidate, unless it is drawn for the audit."""
        at_kl = outcome["rung"] == jobs.KL
        if at_kl:
            self.bayesian.learn_kl(trial.choice, trial.size, outcome["kl"])
            trial.observation = self.bayesian.observations.get(trial.choice)
            promising = trial.uniform or self._promising(trial)
        else:
            promising = trial.uniform or self._chance_after_part(trial, outcome) >= PART_CHANCE
        if not promising and not trial.audited:
            trial.audited = bool(self._random.random() < AUDIT)
            self.rung_stats.audited += trial.audited
        if promising or trial.audited:
            if trial.observation is not None:
                trial.observation.pending = True
            self.rung_stats.full += at_kl
            return True
        if at_kl:
            self.rung_stats.at_kl += 1
        else:
            self.rung_stats.at_part += 1
            self.rung_stats.full -= 1
        return False

    def finish(self, trial: PendingTrial, outcome: dict[str, Any]) -> Candidate:
        """Records a candidate that was scored, pruned or failed."""
        del self.pending[trial.name]
        if trial.observation is not None:
            trial.observation.pending = False
            if math.isfinite(trial.observation.kl):
                outcome.setdefault("kl", trial.observation.kl)
        outcome["pruned"] = outcome.get("rung", jobs.ALL) != trial.rungs[-1] and "error" not in outcome
        evaluated = EvaluatedPolicy(
            name=trial.name,
            recipe=SEARCH,
            policy=trial.policy,
            bytes=trial.size,
            parameters=self.count_parameters(trial.policy),
            predicted=trial.predicted,
            attempts=trial.attempts,
            audited=trial.audited,
        )
        candidate = self.recorder.record(evaluated, outcome)
        self._learn(trial.choice, candidate)
        self.journal.add(self.journal_entry(candidate, trial.parameters))
        if not self.pending:
            self.journal.flush()
        return candidate

    def summary(self) -> str:
        """How many were pruned, and what the check of that says, from the run's table."""
        return RungStats.of(self.recorder.searched(), {c.candidate for c in self.recorder.whole.members}).summary()

    def earlier(self) -> list[JournalEntry]:
        """The candidates of the search so far."""
        return [self.journal_entry(candidate) for candidate in self.recorder.searched()]

    def parameters_of(self, candidate: Candidate) -> dict[str, str]:
        """An earlier candidate of the search as Optuna parameters."""
        choice = self.space.choice(self.recorder.run_dir.read_policy(candidate.policy))
        assert choice is not None
        return self.space.parameters(choice)

    def journal_entry(self, candidate: Candidate, parameters: dict[str, str] | None = None) -> JournalEntry:
        return JournalEntry.of(
            candidate.candidate,
            candidate.recipe,
            self.parameters_of(candidate) if parameters is None else parameters,
            candidate.status,
            candidate.comet,
            candidate.bytes,
        )

    def _learn_from_the_table(self) -> None:
        """What earlier candidates of this run, and recipes whose levels are in the space, teach the sampler."""
        for candidate in self.recorder.candidates:
            searched = candidate.recipe == SEARCH
            if candidate.parent or not (searched or candidate.status == SCORED):
                continue  # a recovered candidate says nothing of its policy
            choice = self.space.choice(self.recorder.run_dir.read_policy(candidate.policy))
            if choice is not None:
                self._learn(choice, candidate)

    def _learn(self, choice: Choice, candidate: Candidate) -> None:
        if math.isfinite(candidate.kl):
            self.bayesian.learn_kl(choice, candidate.bytes, candidate.kl)
        if candidate.status == SCORED:
            self.bayesian.learn(choice, candidate.bytes, candidate.comet)
        elif candidate.status == FAILED:
            self.bayesian.mark_failed(choice)

    def _promising(self, trial: PendingTrial) -> bool:
        """At the first rung: there is room to score one more, and this is the best of all that were never scored."""
        if self.config.sampler != BAYESIAN:
            return True
        if not self.bayesian.warm or not self.rung_stats.may_score():
            return False
        into = next(each for each in self.bins if each.holds(trial.size))
        return self.bayesian.best_unscored(into) is trial.observation

    def _chance_after_part(self, trial: PendingTrial, outcome: dict[str, Any]) -> float:
        """The chance of a higher COMET on all segments than the front has at this size."""
        rival = self.recorder.rival(trial.size)
        if rival is None or len(rival.comet_segments) != self.segments:
            return 1.0
        part, _ = self.config.parts(self.segments)
        scores = outcome.get("comet_segments") or []
        return paired_chance(scores, [rival.comet_segments[index] for index in part], self.segments)
