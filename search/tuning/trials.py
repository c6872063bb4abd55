"""The search proper: asks the sampler for policies, lets them climb the rungs, and takes what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import compress
from cluster import jobs
from compress import Policy
from compress.sizes import Bin
from results.candidate import FAILED, SCORED, Candidate
from search.config import Config
from search.pruning import AUDIT, PART_CHANCE, RungStats, paired_chance
from search.recorder import Recorder, Tried
from search.sampling.base import distributions
from search.sampling.bayesian import WARM, BayesianSampler
from search.sampling.observations import Observation
from search.sampling.registry import BAYESIAN, canonical, make_sampler
from search.space.constraint import SizeConstraint
from search.space.space import Choice
from search.tuning.journal import Journal
from search.tuning.searcher import EngineSearch, Job

SEARCH = "search"
RUNGS = "rungs.json"


@dataclass
class PendingTrial:
    """A candidate that is being tried."""

    name: str
    policy: Policy
    choice: Choice
    parameters: dict[str, str]
    size: int
    predicted: float
    entry: Observation | None  # what the bayesian sampler knows of it
    audited: bool = False


class TrialManager:
    """Candidates of one search, from the sampler's suggestion to the table."""

    def __init__(
        self,
        config: Config,
        recorder: Recorder,
        constraint: SizeConstraint,
        bins: tuple[Bin, ...],
        bayesian: BayesianSampler,
        parameters: Callable[[Policy], int],
        said: str,
        segments: int,
    ) -> None:
        self.config, self.recorder, self.constraint, self.bins = config, recorder, constraint, bins
        self.parameters = parameters  # that remain under a policy
        self.bayesian, self.said, self.segments = bayesian, said, segments
        self.space = constraint.space
        self.distributions = distributions(self.space)
        self.journal = Journal(recorder.folder.journal)
        self.rung_stats = self._earlier_tally()
        self.asked: dict[str, PendingTrial] = {}
        self._dice = np.random.default_rng([config.seed, len(recorder.candidates)])
        self._number = max((int(c.candidate[1:]) for c in recorder.searched()), default=0)

    def open(self, searcher: EngineSearch, seed: int) -> None:
        """Sets up the study, and tells it and the sampler what this run already knows."""
        done = self.recorder.searched()
        sampler = self.bayesian if canonical(self.config.sampler) == BAYESIAN else self._stock(seed)
        whole = sampler is self.bayesian
        study = searcher.open_study(sampler, self.distributions, self.config.trials - len(done), whole)
        if whole and jobs.KL in self.config.rungs:
            self.bayesian.may_score = self.rung_stats.may_score
            self.bayesian.warm_after = min(WARM, max(1, self.config.trials // 4))
        for candidate in self.recorder.candidates:
            if candidate.recipe == SEARCH:
                self._retell(None if whole else study, candidate)
            elif candidate.status == SCORED and not candidate.parent:  # what was trained says nothing of its policy
                self._learn_recipe(candidate)

    def _stock(self, seed: int) -> Any:
        return make_sampler(self.config.sampler, self.constraint, self.bins, seed)

    # What Tune's searcher and scheduler call

    def ask(self, parameters: dict[str, str]) -> Job:
        choice = self.space.from_parameters(parameters)
        policy = self.space.policy(choice)
        size = self.constraint.size(choice)
        if not any(each.holds(size) for each in self.bins):
            raise RuntimeError(f"a policy of {size} bytes lies outside every bin asked for")
        entry = self.bayesian.observations.get(choice)
        rungs = self.config.rungs
        if entry is not None and math.isfinite(entry.kl):  # was stopped at its KL, and has become best_unscored
            rungs = tuple(rung for rung in rungs if rung != jobs.KL)
            self.rung_stats.full += 1
        else:
            self.rung_stats.suggested += 1
        self._number += 1
        name = f"c{self._number:05d}"
        predicted = self.bayesian.original * math.exp(-max(self.bayesian.quality_model.expect(choice), 0.0))
        self.asked[name] = PendingTrial(name, policy, choice, parameters, size, predicted, entry)
        return jobs.score(policy.to_json(), rungs, self.said) | {"name": name, "recipe": SEARCH}

    def should_continue(self, job: Job, outcome: dict[str, Any]) -> bool:
        """After a rung that is not the last: whether the candidate has a chance left, or is let through for audit."""
        asked = self.asked[job["name"]]
        if outcome["rung"] == jobs.KL:
            self.bayesian.learn_kl(asked.choice, asked.size, outcome["kl"])
            asked.entry = self.bayesian.observations.get(asked.choice)
            promised = self._promised(asked)
        else:
            promised = self._part_chance(asked, outcome) >= PART_CHANCE
        if not promised and not asked.audited:
            asked.audited = bool(self._dice.random() < AUDIT)
            self.rung_stats.audited += asked.audited
        if promised or asked.audited:
            if asked.entry is not None:
                asked.entry.pending = True
            if outcome["rung"] == jobs.KL:
                self.rung_stats.full += 1
            return True
        if outcome["rung"] == jobs.KL:
            self.rung_stats.at_kl += 1
        else:
            self.rung_stats.at_part += 1
            self.rung_stats.full -= 1
        return False

    def done(self, job: Job, outcome: dict[str, Any]) -> None:
        """A candidate came to its end: scored, stopped or failed."""
        asked = self.asked.pop(job["name"])
        if asked.entry is not None:
            asked.entry.pending = False
            if math.isfinite(asked.entry.kl):
                outcome.setdefault("kl", asked.entry.kl)
        stopped = outcome.get("rung", jobs.ALL) != job["rungs"][-1] and "error" not in outcome
        outcome["stopped"] = stopped
        found = self.recorder.record(self._tried(asked, job), outcome)
        if found.status == SCORED:
            if math.isfinite(found.kl):
                self.bayesian.learn_kl(asked.choice, asked.size, found.kl)
            self.bayesian.learn(asked.choice, asked.size, found.comet)
            if asked.audited and any(m.candidate == asked.name for m in self.recorder.whole.members):
                self.rung_stats.mistaken += 1
        elif found.status == FAILED:
            self.bayesian.mark_failed(asked.choice)
        values = [found.comet, float(asked.size)] if found.status == SCORED else None
        outcome |= {"comet": found.comet if values else None, "bytes": asked.size}
        self.journal.add(asked.name, SEARCH, asked.parameters, self.distributions, values, stopped)
        if not len(self.asked) or self.rung_stats.suggested % 20 == 0:
            self.save_tally()

    def save_tally(self) -> None:
        self.journal.flush()
        self.recorder.folder.write(RUNGS, self.rung_stats.to_json())

    # Smaller things

    def _promised(self, asked: PendingTrial) -> bool:
        """At the first rung: the most best_unscored of all that were never scored, and there is room to score one."""
        if canonical(self.config.sampler) != BAYESIAN:
            return True
        if not self.bayesian.warm or not self.rung_stats.may_score():
            return False
        into = next(each for each in self.bins if each.holds(asked.size))
        return self.bayesian.best_unscored(into) is asked.entry

    def _part_chance(self, asked: PendingTrial, outcome: dict[str, Any]) -> float:
        rival = self.recorder.rival(asked.size)
        scores = outcome.get("comet_segments") or []
        if rival is None or len(rival.comet_segments) != self.segments:
            return 1.0
        part, _ = self.config.parts(self.segments)
        return paired_chance(scores, [rival.comet_segments[index] for index in part], self.segments)

    def _tried(self, asked: PendingTrial, job: Job) -> Tried:
        return Tried(
            asked.name,
            SEARCH,
            asked.policy,
            asked.size,
            self.parameters(asked.policy),
            asked.predicted,
            int(job.get("attempts", 1)),
        )

    def _learn_recipe(self, candidate: Candidate) -> None:
        """A recipe teaches the sampler too, if its levels and its vocabulary are among the search's."""
        choice = self.space.choice(self.recorder.folder.read_policy(candidate.policy))
        if choice is not None:
            if math.isfinite(candidate.kl):
                self.bayesian.learn_kl(choice, candidate.bytes, candidate.kl)
            self.bayesian.learn(choice, candidate.bytes, candidate.comet)

    def _retell(self, study: Any, candidate: Candidate) -> None:
        """Gives an earlier candidate of this run back to the sampler, and to the study of a stock one."""
        import optuna

        choice = self.space.choice(self.recorder.folder.read_policy(candidate.policy))
        assert choice is not None
        if math.isfinite(candidate.kl):
            self.bayesian.learn_kl(choice, candidate.bytes, candidate.kl)
        scored = candidate.status == SCORED
        if scored:
            self.bayesian.learn(choice, candidate.bytes, candidate.comet)
        elif candidate.status == FAILED:
            self.bayesian.mark_failed(choice)
        values = [candidate.comet, float(candidate.bytes)] if scored else None
        parameters = self.space.parameters(choice)
        if study is not None:
            states = optuna.trial.TrialState
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE if values else states.FAIL,
                    values=values,
                    params=parameters,
                    distributions=self.distributions,
                )
            )
        if candidate.candidate not in self.journal.known:
            self.journal.add(
                candidate.candidate,
                SEARCH,
                parameters,
                self.distributions,
                values,
                stopped=candidate.status not in (SCORED, FAILED),
            )

    def _earlier_tally(self) -> RungStats:
        path = self.recorder.folder.path / RUNGS
        if not path.exists():
            return RungStats()
        try:
            return RungStats.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError):
            raise compress.errors.UserError(
                f"{path} is damaged: remove it (only the audit's counts are lost)"
            ) from None
