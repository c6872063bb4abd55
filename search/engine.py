"""The engine: encode → score the original → sensitivities → recipes → search, all as jobs of one Ray Tune run.

The driver only asks, sums and records; models and scores live in the workers. Everything that was finished is in the
run's folder, so that the same phases, run again with --resume, skip what is there.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import compress
from cluster import jobs
from cluster.worker import original_policy
from compress import Policy
from compress.codecs import codec
from compress.errors import UserError
from compress.model.vocabulary import FULL
from compress.sizes import Bin
from results.candidate import FAILED, SCORED, Candidate
from search.baselines import single_drops, without
from search.config import Config
from search.iterative_pruning import IterativePruning, dropped_last, lm_layers
from search.progress import Progress
from search.recorder import Recorder, Tried, parameters_left
from search.run_dir import RunDir
from search.sampling import sensitivity as sense
from search.sampling.bayesian import BayesianSampler
from search.sampling.quality_model import QualityModel
from search.space.constraint import SizeConstraint
from search.space.groups import tie, tie_costs
from search.space.space import DEFAULT_LEVELS, Space, make_space, with_vocabularies
from search.status import RunStatus
from search.tuning.searcher import EngineSearch, Job, Phase
from search.tuning.trials import SEARCH, TrialManager

ORIGINAL, PRUNING = "original", "iterative-pruning"
NEAR = (0.5, 2.0)  # uniform levels are scored from half a bin's lower bound to twice its upper one


class Engine:
    """One run, from its configuration to its front. `searcher` is what Ray Tune is given."""

    def __init__(
        self,
        config: Config,
        folder: RunDir,
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
        self.searcher = EngineSearch(self._done, lambda parameters: self._searching.ask(parameters))
        self.refusal: UserError | None = None
        self.run_status = RunStatus(config, self.recorder, self.searcher, workers)
        self.asking: TrialManager | None = None
        self._said = ""
        self._pruning: IterativePruning | None = None
        self._original = original_policy(source)
        self._original_outcome: dict[str, Any] | None = None
        self._calibration = ""
        self._translations: tuple[str, ...] = ()
        self._errors: dict[tuple[str, str], float] = {}
        self._sensed: list[list[Any]] = []
        self._unfit: dict[tuple[str, str], str] = {}
        self._plan_start()

    # Phases, each planned when the one before it is done.

    def _plan_start(self) -> None:
        """Scores the original, and meanwhile encodes what needs no calibration."""
        tasks = self._encoding([pair for pair in self._wanted() if not codec(pair[1]).uses_hessian])
        if self.recorder.find(ORIGINAL) is None:
            tasks.insert(0, jobs.score(None) | {"name": ORIGINAL, "recipe": ORIGINAL})
        self.progress.say(f"encoding {len(self.source.structure.units)} units, scoring the original")
        self._phase("encode", tasks, self._plan_calibration)

    def _plan_calibration(self) -> None:
        """What the original says on the speech is what levels with error feedback are calibrated on."""
        outcome = self._original_outcome or {}
        earlier = self.recorder.table.texts([ORIGINAL]).get(ORIGINAL) if self.recorder.find(ORIGINAL) else None
        self._translations = earlier.hypotheses if earlier else tuple(outcome.get("hypotheses", ()))
        if not self._translations:
            raise UserError(f"the original model cannot be scored: {outcome.get('error', 'no result')}")
        self._said = jobs.keep_reference_outputs(self.store, self._translations)
        tasks = [jobs.calibrate(self._said)] if self.config.calibration else []
        self._phase("calibrate", tasks, self._plan_encoding)

    def _plan_encoding(self) -> None:
        tasks = self._encoding([pair for pair in self._wanted() if codec(pair[1]).uses_hessian])
        self._phase("encode", tasks, self._plan_sensing)

    def _wanted(self) -> list[tuple[str, str]]:
        """Every (unit, level) that this run may need."""
        levels = self.config.levels or DEFAULT_LEVELS
        wanted = {(unit, level) for unit in self.source.structure.units for level in levels}
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
        rows = [
            pairs for unit, pairs in by_unit.items() if self.source.structure.unit(unit).kind in ("embedding", "head")
        ]
        smaller = [name for name in self.config.vocabulary if name != FULL]
        trimmed = [jobs.build(pairs, self._calibration, name) for name in smaller for pairs in rows]
        return trimmed + [jobs.build(piece, self._calibration) for piece in pieces]

    def _plan_sensing(self) -> None:
        self.ledger = compress.Ledger(
            self.source, self.store, sorted({level for _, level in self._errors}), self._calibration
        )
        self._untied = self._make_space()
        self.space = tie(self._untied, self.config.groups)
        self.constraint = SizeConstraint(self.space, self.ledger.predict)
        self.constraint.check_reachable(self.bins)
        if self._original_outcome is not None:
            self._record(ORIGINAL, ORIGINAL, self._original, 0.0, self._original_outcome)
        original = self.recorder.find(ORIGINAL)
        if original is None or original.status != SCORED:
            raise UserError(f"the original model cannot be scored: {original.error if original else 'no result'}")
        self.progress.say(
            f"original: COMET {original.comet:.4f}, chrF {original.chrf:.1f}, {original.bytes:,} bytes"
            f" ({original.segments} segments)"
        )
        self.kept = sense.SensitivityCache(self.store, self._sense_key(), self.folder.path / "sensitivities.json")
        self._sensed = self.kept.read(self.config.sensitivities)
        known = {tuple(entry[:3]) for entry in self._sensed}
        weights = {name: unit.weights for name, unit in self.source.structure.units.items()}
        full = self.config.sensitivities == sense.FULL
        todo = [t for t in sense.actions_to_measure(self._untied, weights, full) if t not in known]
        self._describe_model()
        if todo:
            told = f", {len(self._sensed)} known from earlier runs" if self._sensed else ""
            self.progress.say(f"measuring {len(todo)} sensitivities{told}")
        tasks = [jobs.sense(piece, self._calibration, self._said) for piece in sense.split_actions(todo, self.workers)]
        self._phase("sensitivities", tasks, self._plan_recipes)

    def _plan_recipes(self) -> None:
        measured = sense.sensitivity_table(self._untied, self._errors, self._sensed)
        self.sensitivities = tie_costs(self._untied, measured, self.config.groups)
        tasks = []
        self.recipes = {name: self._calibrated(policy) for name, policy in self.recipes.items()}
        for name, policy in self.recipes.items():
            unsupported = [pair for pair in policy.levels.items() if pair in self._unfit]
            if unsupported:
                self.progress.say(f"recipe {name} is left out: {self._unfit[unsupported[0]]}")
            elif self.recorder.find(name) is None and self._worth_scoring(name, policy):
                # Their KL beside their COMET is what the first forecasts are made of.
                tasks.append(self._score(policy) | {"name": name, "recipe": name})
        if tasks:
            self.progress.say(f"scoring {len(tasks)} recipes")
        if self.config.score_drops:
            tasks += self._single_drops()
        self._phase("recipes", tasks, self._plan_pruning)

    def _single_drops(self) -> list[Job]:
        """The original without each layer that may go, scored in full."""
        found = single_drops(self._original, self.source.structure, self._untied)
        todo = [name for name in found if self.recorder.find(name) is None]
        self.recipes |= {name: found[name] for name in todo}
        if todo:
            self.progress.say(f"scoring the original without one layer: {len(todo)} candidates")
        return [self._score(found[name]) | {"name": name, "recipe": name} for name in todo]

    def _score(self, policy: Policy) -> Job:
        """Every rung that needs no decision, in one job."""
        rungs = tuple(rung for rung in self.config.rungs if rung != jobs.PART)
        return jobs.score(policy.to_json(), rungs, self._said)

    def _plan_pruning(self) -> None:
        """Moslem's greedy loop, a round a phase, if baselines are asked for and layers may go."""
        if not self.config.baselines or not self.config.drop:
            return self._plan_search()
        if self._pruning is None:
            layers = lm_layers(self.source.structure)
            rounds = len(layers) // 4  # 8 of 32, as published
            if rounds < 1 or len(layers) - 2 < rounds:
                return self._plan_search()
            self._pruning = IterativePruning(layers, rounds=rounds)
            for candidate in self.recorder.candidates:
                if candidate.recipe == PRUNING and candidate.status in (SCORED, FAILED):
                    self._tell_pruning(candidate)
            for layer in self._pruning.candidates:  # what --score-drops scored is its first round
                known = self.recorder.find(f"drop:{layer}")
                if known is not None and known.status == SCORED:
                    self._tell_pruning(known)
            if not self._pruning.done:
                self.progress.say(f"{PRUNING}: {self._pruning.evaluations} evaluations to drop {rounds} layers")
        if self._pruning.done:
            self.progress.say(f"{PRUNING} drops {', '.join(self._pruning.dropped)}")
            return self._plan_search()
        tasks = []
        for dropped in self._pruning.ask():
            policy = without(self._original, self.source.structure, dropped)
            names = f"pruned-{len(dropped)}-{dropped_last(dropped, self._pruning.dropped)}"
            self.recipes[names] = policy
            tasks.append(self._score(policy) | {"name": names, "recipe": PRUNING})
        return self._phase(PRUNING, tasks, self._plan_pruning)

    def _tell_pruning(self, candidate: Candidate) -> None:
        assert self._pruning is not None
        dropped = self.folder.read_policy(candidate.policy).dropped
        self._pruning.tell(dropped, candidate.chrf if candidate.status == SCORED else float("nan"))

    def _plan_search(self) -> None:
        original = self.recorder.find(ORIGINAL)
        assert original is not None
        quality_model = QualityModel(self.space, self.sensitivities)
        bayesian = BayesianSampler(self.constraint, self.bins, quality_model, self._fresh_seed(), original.comet)
        segments = original.segments
        self.asking = TrialManager(
            self.config, self.recorder, self.constraint, self.bins, bayesian, self._parameters, self._said, segments
        )
        self.asking.open(self.searcher, self._fresh_seed())
        if self.searcher.trials > 0:
            rungs = " → ".join(self.config.rungs)
            self.progress.say(
                f"searching: {self.searcher.trials} candidates, sampler {self.config.sampler}, rungs {rungs}"
            )

    @property
    def _searching(self) -> TrialManager:
        assert self.asking is not None
        return self.asking

    # What the searcher and the scheduler call.

    def should_continue(self, trial_id: str, outcome: dict[str, Any]) -> bool:
        """After a rung that is not the last one."""
        job = self.searcher.job_of(trial_id)
        if job is None or job.get("recipe") != SEARCH:
            return True
        started = time.perf_counter()
        try:
            return self._searching.should_continue(job, outcome)
        except Exception as error:
            self.searcher.break_off(error)
            return False
        finally:
            self.run_status.busy += time.perf_counter() - started

    def _done(self, job: Job, outcome: dict[str, Any]) -> None:
        started = time.perf_counter()
        try:
            self._take(job, outcome)
        except UserError as refusal:
            self._stop(refusal)
        self.run_status.busy += time.perf_counter() - started
        self.run_status.count_hits(outcome)
        self.run_status.report(job, outcome)
        self.progress.update(self.run_status.line)

    def _take(self, job: Job, outcome: dict[str, Any]) -> None:
        if job["kind"] == jobs.BUILD:
            self._errors |= {(unit, level): error for unit, level, error in outcome.get("built", [])}
            self._unfit |= {(unit, level): why for unit, level, why in outcome.get("unsupported", [])}
            if "error" in outcome:
                raise UserError(f"encoding failed: {outcome['error']}")
        elif job["kind"] == jobs.CALIBRATE:
            if "error" in outcome:
                raise UserError(f"calibrating failed: {outcome['error']}")
            self._calibration = outcome["calibration"]
        elif job["kind"] == jobs.SENSE:
            if "error" in outcome:
                raise UserError(f"measuring sensitivities failed: {outcome['error']}")
            self._sensed += outcome["sensed"]
            self.kept.write(self._sensed)
        elif job["name"] == ORIGINAL:
            self._original_outcome = outcome
        elif job["recipe"] == SEARCH:
            self._searching.done(job, outcome)
        else:
            found = self._record(job["name"], job["recipe"], self.recipes[job["name"]], 0.0, outcome)
            if job["recipe"] == PRUNING:
                self._tell_pruning(found)

    # Smaller things.

    def _stop(self, refusal: UserError) -> None:
        """Ends the search with one clear line: Tune would wrap an exception in a traceback."""
        self.refusal = self.refusal or refusal
        self.searcher.phases.clear()
        self.searcher.trials = 0

    def _record(self, name: str, recipe: str, policy: Policy, predicted: float, outcome: dict[str, Any]) -> Candidate:
        tried = Tried(name, recipe, policy, self.ledger.predict(policy), self._parameters(policy), predicted)
        return self.recorder.record(tried, outcome)

    def _parameters(self, policy: Policy) -> int:
        return parameters_left(self.source, policy, self.store)

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

    def _fresh_seed(self) -> int:
        """The run's seed, moved on by what is already there: a resumed run must not draw the same policies again."""
        return self.config.seed * 1_000_003 + len(self.recorder.candidates)

    def _sense_key(self) -> str:
        """Sensitivities are of a model, on data, with a calibration; whatever the bin, and whatever is searched."""
        data = [self.config.data, self.config.lang, str(self.config.sense_segments), self._said]
        return sense.cache_key([self.source.digest, self._calibration, *data])

    def _describe_model(self) -> None:
        """What a report needs to draw a policy: units, their weights and their bytes at every level."""
        structure = self.source.structure
        units = [
            {
                "name": name,
                "layer": unit.layer,
                "weights": unit.weights,
                "sizes": {level: self.ledger.size(u, level) for u, level in self._errors if u == name},
            }
            for name, unit in structure.units.items()
        ]
        told = {
            "digest": self.source.digest,
            "original_bytes": self.source.original_bytes,
            "layers": [layer.name for layer in structure.layers],
            "units": units,
        }
        self.folder.write("model.json", json.dumps(told))

    def _phase(self, name: str, tasks: list[Job], then: Any) -> None:
        def guarded() -> None:
            try:
                then()
            except UserError as refusal:
                self._stop(refusal)

        self.searcher.phases.append(Phase(name, tasks, guarded))

    def _make_space(self) -> Space:
        structure = self.source.structure
        levels = list(self.config.levels or DEFAULT_LEVELS)
        frozen = {unit for unit in structure.units if self.config.freeze and re.search(self.config.freeze, unit)}
        if frozen:
            levels = list(dict.fromkeys([*levels, *(self._original.levels[unit] for unit in frozen)]))
        choices = {unit: [self._original.levels[unit]] if unit in frozen else levels for unit in structure.units}
        first, *others = self.config.vocabulary
        held = {structure.unit(unit).layer for unit in frozen}
        space = make_space(
            model=self.source.digest,
            units={name: unit.layer for name, unit in structure.units.items()},
            layers=[layer.name for layer in structure.layers],
            levels=levels,
            sizes=self._sizes(choices, first),
            unquantized={layer.name: self.ledger.kept(layer.name) for layer in structure.layers},
            # The first layer of a stack always stays: a stack cannot be empty, and no model survives without it.
            droppable={
                layer.name: self.config.drop and layer.index > 0 and layer.name not in held
                for layer in structure.layers
            },
            calibration=self._calibration,
        )
        rows = {unit: levels for unit, levels in choices.items() if structure.unit(unit).kind in ("embedding", "head")}
        files = [self.ledger.fixed(name) for name in self.config.vocabulary]
        return with_vocabularies(space, self.config.vocabulary, [self._sizes(rows, name) for name in others], files)

    def _sizes(self, choices: dict[str, list[str]], vocabulary: str) -> dict[tuple[str, str], float]:
        """Bytes of units at levels under a vocabulary; infinite where a level fits nothing but the whole unit."""
        found: dict[tuple[str, str], float] = {}
        for unit, levels in choices.items():
            for level in levels:
                if (unit, level) in self._errors:
                    try:
                        found[unit, level] = self.ledger.size(unit, level, vocabulary)
                    except UserError:
                        if vocabulary == FULL:  # it was encoded, and is gone
                            raise
                        found[unit, level] = math.inf
        return found
