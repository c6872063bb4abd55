"""The engine: encode → score the original → sensitivities → recipes → search, all as jobs of one Ray Tune run.

The driver only asks, sums and records; models and scores live in the workers. Everything that was finished is in the
run's folder, so that the same phases, run again with --resume, skip what is there.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import compress
from cluster import jobs
from cluster.worker import original_policy
from compress import Policy
from compress.codecs import codec
from compress.errors import Refusal
from results.candidate import SCORED, Candidate
from search import sense
from search.bins import Bin
from search.config import Config
from search.damage import Belief
from search.fit import Fitter
from search.folder import RunFolder
from search.progress import Progress, time_left
from search.recorder import Recorder, Tried
from search.sampler import HouseSampler
from search.searcher import EngineSearch, Job, Journal, Phase
from search.space import DEFAULT_LEVELS, Space, make_space
from search.stock import Repaired, stock

ORIGINAL = "original"
NEAR = (0.5, 2.0)  # uniform levels are scored from half a bin's lower bound to twice its upper one


class Engine:
    """One run, from its configuration to its front. `searcher` is what Ray Tune is given."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        source: compress.Source,
        store: compress.Store,
        bins: tuple[Bin, ...],
        recipes: dict[str, Policy],
        workers: int,
        progress: Progress,
    ) -> None:
        self.config, self.folder, self.bins = config, folder, bins
        self.source, self.store, self.workers, self.progress = source, store, workers, progress
        self.recipes = recipes
        self.recorder = Recorder(folder, source.original_bytes, bins)
        self.journal = Journal(folder.journal)
        self.searcher = EngineSearch(self._done, self._ask)
        self.refusal: Refusal | None = None
        self._original = original_policy(source)
        self._original_outcome: dict[str, Any] | None = None
        self._calibration = ""
        self._translations: tuple[str, ...] = ()
        self._errors: dict[tuple[str, str], float] = {}
        self._sensed: list[Sequence[Any]] = []
        self._unfit: dict[tuple[str, str], str] = {}
        self._asked: dict[str, tuple[str, Policy, dict[str, str], int, float]] = {}
        self._plan_start()

    # Phases, each planned when the one before it is done.

    def _plan_start(self) -> None:
        """Scores the original, and meanwhile encodes what needs no calibration."""
        tasks = self._encoding([pair for pair in self._wanted() if not codec(pair[1]).uses_hessian])
        if self.recorder.find(ORIGINAL) is None:
            tasks.insert(0, jobs.score(None) | {"name": ORIGINAL, "recipe": ORIGINAL})
        self.progress.say(f"encoding {len(self.source.anatomy.units)} units, scoring the original")
        self._phase("encode", tasks, self._plan_calibration)

    def _plan_calibration(self) -> None:
        """What the original says on the speech is what levels with error feedback are calibrated on."""
        earlier = self.recorder.find(ORIGINAL)
        outcome = self._original_outcome or {}
        self._translations = earlier.hypotheses if earlier else tuple(outcome.get("hypotheses", ()))
        if not self._translations:
            raise Refusal(f"the original model cannot be scored: {outcome.get('error', 'no result')}")
        tasks = [jobs.calibrate(self._translations)] if self.config.calibration else []
        self._phase("calibrate", tasks, self._plan_encoding)

    def _plan_encoding(self) -> None:
        tasks = self._encoding([pair for pair in self._wanted() if codec(pair[1]).uses_hessian])
        self._phase("encode", tasks, self._plan_sensing)

    def _wanted(self) -> list[tuple[str, str]]:
        """Every (unit, level) that this run may need."""
        levels = self.config.levels or DEFAULT_LEVELS
        wanted = {(unit, level) for unit in self.source.anatomy.units for level in levels}
        return sorted(wanted | {pair for p in (*self.recipes.values(), self._original) for pair in p.levels.items()})

    def _encoding(self, wanted: Sequence[tuple[str, str]]) -> list[Job]:
        """Jobs of like size: a unit's levels stay together, big and small units are mixed."""
        by_unit: dict[str, list[tuple[str, str]]] = {}
        for unit, level in wanted:
            by_unit.setdefault(unit, []).append((unit, level))
        work = list(by_unit.values())
        random.Random(0).shuffle(work)
        size = max(1, -(-len(work) // (4 * self.workers)))
        pieces = [[pair for unit in work[start : start + size] for pair in unit] for start in range(0, len(work), size)]
        return [jobs.build(piece, self._calibration) for piece in pieces]

    def _plan_sensing(self) -> None:
        self.ledger = compress.Ledger(
            self.source, self.store, sorted({level for _, level in self._errors}), self._calibration
        )
        self.space = self._make_space()
        self.fitter = Fitter(self.space, self.ledger.predict)
        self.fitter.check_reachable(self.bins)
        if self._original_outcome is not None:
            self._record(ORIGINAL, ORIGINAL, self._original, 0.0, self._original_outcome)
        original = self.recorder.find(ORIGINAL)
        if original is None or original.status != SCORED:
            raise Refusal(f"the original model cannot be scored: {original.error if original else 'no result'}")
        self.progress.say(
            f"original: COMET {original.comet:.4f}, chrF {original.chrf:.1f}, {original.bytes:,} bytes"
            f" ({original.segments} segments)"
        )
        path = self.folder.path / "sensitivities.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        known = {tuple(entry[:3]) for entry in kept}
        self._sensed = list(kept)
        weights = {name: unit.weights for name, unit in self.source.anatomy.units.items()}
        todo = [t for t in sense.plan(self.space, weights) if t not in known]
        if todo:
            self.progress.say(f"measuring {len(todo)} sensitivities")
        tasks = [jobs.sense(piece, self._translations, self._calibration) for piece in sense.chunks(todo, self.workers)]
        self._phase("sensitivities", tasks, self._plan_recipes)

    def _plan_recipes(self) -> None:
        self.sensitivities = sense.sensitivities(self.space, self._errors, self._sensed)
        tasks = []
        self.recipes = {name: self._calibrated(policy) for name, policy in self.recipes.items()}
        for name, policy in self.recipes.items():
            unfit = [pair for pair in policy.levels.items() if pair in self._unfit]
            if unfit:
                self.progress.say(f"recipe {name} is left out: {self._unfit[unfit[0]]}")
            elif self.recorder.find(name) is None and self._worth_scoring(name, policy):
                tasks.append(jobs.score(policy.to_json()) | {"name": name, "recipe": name})
        if tasks:
            self.progress.say(f"scoring {len(tasks)} recipes")
        self._phase("recipes", tasks, self._plan_search)

    def _plan_search(self) -> None:
        original = self.recorder.find(ORIGINAL)
        assert original is not None
        belief = Belief(self.space, self.sensitivities)
        self.house = HouseSampler(self.fitter, self.bins, belief, self._fresh_seed())
        self.house.original = original.comet
        done = self.recorder.searched()
        for candidate in self.recorder.candidates:
            if candidate.status == SCORED and candidate.recipe != "search":
                self._learn(candidate)
        sampler = self.house
        if self.config.sampler != "house":
            inner = stock(self.config.sampler, self._fresh_seed())
            sampler = Repaired(inner, self.fitter, self.bins, self.config.seed)
        study = self.searcher.open_study(sampler, self.space.distributions, self.config.trials - len(done))
        known = self.journal.known()
        for candidate in done:
            self._retell(study, candidate, mirror=candidate.candidate not in known)
        if self.searcher.trials > 0:
            self.progress.say(f"searching: {self.searcher.trials} candidates, sampler {self.config.sampler}")

    # What the searcher calls.

    def _ask(self, trial_id: str, parameters: dict[str, str]) -> Job:  # noqa: ARG002
        choice = self.space.from_parameters(parameters)
        policy = self.space.policy(choice)
        size = self.ledger.predict(policy)
        if not any(each.holds(size) for each in self.bins):
            raise RuntimeError(f"a policy of {size} bytes lies outside every bin asked for")
        taken = [int(c.candidate[1:]) for c in self.recorder.searched()] + [int(name[1:]) for name in self._asked]
        name = f"c{max(taken, default=0) + 1:05d}"
        predicted = self.house.original * _share(self.house.belief.expect(choice))
        self._asked[name] = (name, policy, parameters, size, predicted)
        return jobs.score(policy.to_json()) | {"name": name, "recipe": "search"}

    def _done(self, job: Job, outcome: dict[str, Any]) -> None:
        try:
            self._take(job, outcome)
        except Refusal as refusal:
            self._stop(refusal)
        self.progress.update(self.line())

    def _take(self, job: Job, outcome: dict[str, Any]) -> None:
        if job["kind"] == jobs.BUILD:
            self._errors |= {(unit, level): error for unit, level, error in outcome.get("built", [])}
            self._unfit |= {(unit, level): why for unit, level, why in outcome.get("unfit", [])}
            if "error" in outcome:
                raise Refusal(f"encoding failed: {outcome['error']}")
        elif job["kind"] == jobs.CALIBRATE:
            if "error" in outcome:
                raise Refusal(f"calibrating failed: {outcome['error']}")
            self._calibration = outcome["calibration"]
        elif job["kind"] == jobs.SENSE:
            if "error" in outcome:
                raise Refusal(f"measuring sensitivities failed: {outcome['error']}")
            self._sensed += outcome["sensed"]
            self.folder.write("sensitivities.json", json.dumps(self._sensed))
        elif job["name"] == ORIGINAL:
            self._original_outcome = outcome
        elif job["recipe"] == "search":
            name, policy, parameters, size, predicted = self._asked.pop(job["name"])
            found = self._record(name, "search", policy, predicted, outcome)
            scored = found.status == SCORED
            outcome |= {"comet": found.comet if scored else None, "bytes": size}
            self.journal.add(
                name, "search", parameters, self.space.distributions, [found.comet, float(size)] if scored else None
            )
        else:
            self._record(job["name"], job["recipe"], self.recipes[job["name"]], 0.0, outcome)

    # Smaller things.

    def _stop(self, refusal: Refusal) -> None:
        """Ends the search with one clear line: Tune would wrap an exception in a traceback."""
        self.refusal = self.refusal or refusal
        self.searcher.phases.clear()
        self.searcher.trials = 0

    def _record(self, name: str, recipe: str, policy: Policy, predicted: float, outcome: dict[str, Any]) -> Candidate:
        gone = sum(layer.parameters for layer in self.source.anatomy.layers if layer.name in policy.dropped)
        parameters = self.source.anatomy.parameters - gone
        tried = Tried(name, recipe, policy, self.ledger.predict(policy), parameters, predicted)
        return self.recorder.record(tried, outcome)

    def _worth_scoring(self, name: str, policy: Policy) -> bool:
        """Published recipes always; uniform levels, of which there are many, only near the bins of this run."""
        if not name.startswith("uniform:"):
            return True
        size = self.ledger.predict(policy)
        return any(NEAR[0] * each.low <= size < NEAR[1] * each.high for each in self.bins)

    def _calibrated(self, policy: Policy) -> Policy:
        """A recipe whose levels use calibration gets this run's."""
        uses = any(codec(level).uses_hessian for level in policy.levels.values())
        return replace(policy, calibration=self._calibration) if uses else policy

    def _learn(self, candidate: Candidate) -> None:
        """A recipe teaches the sampler too, if its levels are among the search's."""
        policy = self.folder.read_policy(candidate.policy)
        if all(level in self.space.level_columns for level in policy.levels.values()):
            self.house.learn(self.space.choice(policy), candidate.bytes, candidate.comet)

    def _retell(self, study: Any, candidate: Candidate, mirror: bool) -> None:
        """Gives an earlier candidate of this run back to the study, and so to the sampler."""
        import optuna

        choice = self.space.choice(self.folder.read_policy(candidate.policy))
        values = [candidate.comet, float(candidate.bytes)] if candidate.status == SCORED else None
        parameters = self.space.parameters(choice)
        state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
        distributions = self.space.distributions
        study.add_trial(
            optuna.trial.create_trial(state=state, values=values, params=parameters, distributions=distributions)
        )
        if values:
            self.house.learn(choice, candidate.bytes, candidate.comet)
        if mirror:
            self.journal.add(candidate.candidate, "search", parameters, distributions, values)

    def _fresh_seed(self) -> int:
        """The run's seed, moved on by what is already there: a resumed run must not draw the same policies again."""
        return self.config.seed * 1_000_003 + len(self.recorder.searched())

    def _phase(self, name: str, tasks: list[Job], then: Any) -> None:
        def guarded() -> None:
            try:
                then()
            except Refusal as refusal:
                self._stop(refusal)

        self.searcher.phases.append(Phase(name, tasks, guarded))

    def _make_space(self) -> Space:
        anatomy = self.source.anatomy
        levels = list(self.config.levels or DEFAULT_LEVELS)
        sizes = {
            (unit, level): self.ledger.size(unit, level)
            for unit in anatomy.units
            for level in levels
            if (unit, level) in self._errors
        }
        return make_space(
            model=self.source.digest,
            units={name: unit.layer for name, unit in anatomy.units.items()},
            layers=[layer.name for layer in anatomy.layers],
            levels=levels,
            sizes=sizes,
            kept={layer.name: self.ledger.kept(layer.name) for layer in anatomy.layers},
            # The first layer of a stack always stays: a stack cannot be empty, and no model survives without it.
            droppable={layer.name: self.config.drop and layer.index > 0 for layer in anatomy.layers},
            calibration=self._calibration,
        )

    def line(self) -> str:
        """Where the run stands, in one line."""
        done = self.recorder.searched()
        phase = self.searcher.phases[0] if self.searcher.phases else None
        if phase is not None:
            finished = phase.total - len(phase.waiting) - phase.running
            return f"{phase.name} {finished}/{phase.total}, {self.searcher.running} running"
        best = self.recorder.best()
        failed = sum(c.status != SCORED for c in done)
        since = [c.seconds for c in done]
        pace = (max(since) - min(since)) if len(since) > 1 else 0.0
        return (
            f"candidates {len(done)}/{self.config.trials}, {self.searcher.running} running, {failed} failed"
            f" | best COMET {f'{best.comet:.4f} at {best.bytes:,} bytes' if best else '-'}"
            f" | hypervolume {self.recorder.hypervolume():.4f}"
            f" | {time_left(max(len(done) - 1, 0), max(self.config.trials - 1, 1), pace)} left"
        )


def _share(damage: float) -> float:
    """Of the original's COMET that a damage leaves."""
    return math.exp(-max(damage, 0.0))
