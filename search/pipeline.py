"""A run: prepare → original → calibrate → encode → sensitivities → baselines → pruning → search → report.

Each step looks first at what the run's folder and the store hold, so that a resumed run goes on where it was. Every
step but the search is a loop over jobs that the pool of workers does side by side; Ray Tune runs the search.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import compress
import embedded
from cluster import jobs
from cluster.jobs import Job
from cluster.pool import WorkerPool
from compress import Policy, Store
from compress.codecs import codec
from compress.errors import UserError
from compress.policy.recipes import original_policy
from results.candidate import FAILED, SCORED, Candidate
from results.formats import to_text
from results.html.page import write_report
from results.paper_table import paper_table
from results.paper_table import to_text as to_paper
from results.runs import ORIGINAL, RunView
from results.series import PRUNING
from search import phases
from search.baselines import single_drops, without
from search.config import Config
from search.encoding import UnitLevel, Variants, encoding_jobs, needed
from search.inputs import Inputs, frozen_units, levels_of, prepare
from search.iterative_pruning import IterativePruning, dropped_last, lm_layers
from search.phases import Phases
from search.progress import Progress
from search.recorder import EvaluatedPolicy, Recorder, parameters_left
from search.resources import context_of, resources
from search.run_dir import RunDir
from search.sampling import sensitivity
from search.sampling.bayesian import BayesianSampler
from search.sampling.quality_model import QualityModel
from search.sampling.registry import BAYESIAN, make_sampler
from search.space import vocabularies
from search.space.allocate import ActionCosts
from search.space.build_space import space_of_model
from search.space.constraint import SizeConstraint
from search.space.groups import tie
from search.space.space import Space
from search.space.uniform import first_choices
from search.status import RunStatus
from search.trackers import Trackers
from search.tuning.searcher import ParetoSearch, study_of
from search.tuning.trials import TrialManager
from search.tuning.tuner import run_search
from search.workload import Workload

FIRST_SHARE = 1 / 16  # of the candidates, how many are uniform policies and mixtures at most
NEAR = (0.5, 2.0)  # uniform levels are scored from half a bin's lower bound to twice its upper one


@dataclass
class Run:
    """What every step works with."""

    inputs: Inputs
    run_dir: RunDir
    store: Store
    recorder: Recorder
    pool: WorkerPool
    status: RunStatus
    progress: Progress

    @property
    def config(self) -> Config:
        return self.inputs.config

    @property
    def source(self) -> compress.Source:
        return self.inputs.source

    def map(self, phase: str, work: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Jobs with their outcomes, as they end; shown as a phase of the run."""
        self.status.begin(phase, len(work))
        for job, outcome in self.pool.map(work):
            self.status.running = self.pool.running
            self.status.job_ended(job, outcome)
            yield job, outcome

    def encoding_jobs(self, pairs: Sequence[UnitLevel], calibration: str) -> list[Job]:
        workers = len(self.pool.actors)
        return encoding_jobs(self.source.structure, pairs, calibration, self.config.vocabulary, workers)

    def scoring_job(self, policy: Policy, reference: str, name: str, recipe: str) -> Job:
        """Every rung that needs no decision, in one job."""
        rungs = tuple(rung for rung in self.config.rungs if rung != jobs.PART)
        return jobs.score(policy.to_json(), rungs, reference) | {"name": name, "recipe": recipe}

    def count_parameters(self, policy: Policy) -> int:
        return parameters_left(self.source, policy, self.store)

    def record(
        self, name: str, recipe: str, policy: Policy, ledger: compress.Ledger, outcome: dict[str, Any]
    ) -> Candidate:
        evaluated = EvaluatedPolicy(
            name=name,
            recipe=recipe,
            policy=policy,
            bytes=ledger.predict(policy),
            parameters=self.count_parameters(policy),
            predicted=0.0,
            attempts=outcome.get("attempts", 1),
        )
        return self.recorder.record(evaluated, outcome)

    def seed(self) -> int:
        """The run's seed, moved on by what is already there: a resumed run must not draw the same policies again."""
        return self.config.seed * 1_000_003 + len(self.recorder.candidates)


def run(config: Config, resume: bool = False, recover: int = 0, verbose: bool = False) -> int:
    """The whole run. Exit code: 0 done, 130 interrupted. Raises UserError with one line for the user.

    `recover` candidates are trained afterwards, by whoever calls this. `verbose`: technical counters in the line.
    """
    with Progress() as progress:
        with progress.doing("reading model and data"):
            inputs = prepare(config)
        run_dir = RunDir(inputs.config, resume)
        announce(inputs, run_dir, progress)
        try:
            finished = execute(inputs, run_dir, progress, inputs.config.resume_command(recover), verbose)
        except Exception:
            run_dir.discard()
            raise
        run_dir.release()
    return 0 if finished else 130


def announce(inputs: Inputs, run_dir: RunDir, progress: Progress) -> None:
    config = inputs.config
    ranges = ", ".join(f"{each.name} {each.low:,} to {each.high:,} bytes" for each in inputs.bins)
    progress.say(
        f"run {run_dir.path}: {config.model} ({inputs.source.original_bytes:,} bytes), {config.lang}, {ranges}"
    )
    for note in inputs.left_out:
        progress.say(note)
    progress.say(f"vocabulary: {inputs.vocabulary}")
    if config.comet == "embedded":
        progress.say(f"COMET: {embedded.LABEL}")


def execute(inputs: Inputs, run_dir: RunDir, progress: Progress, again: str, verbose: bool = False) -> bool:
    """Ray, scorers, workers, all steps, the report; True if it came to its end. `again` is the command to go on."""
    config, source = inputs.config, inputs.source
    recorder = Recorder(run_dir, source.original_bytes, inputs.bins)
    finished, counts = False, ""
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        with progress.doing("starting Ray" if not config.address else f"joining the Ray cluster at {config.address}"):
            reserved = stack.enter_context(
                resources(config, config.name, inputs.comet, f"`{again}` goes on", progress.say)
            )
        if reserved.device == "cuda":  # how exactly a score can be had again depends on it
            run_dir.write("config.json", replace(config, device="cuda").to_json())
        if config.log:
            trackers = Trackers(config, recorder, progress.say)
            stack.callback(trackers.close)
            trackers.begin()
            recorder.followers.append(trackers.add)
        recorder.signature = lambda: config.eval_spec("dev").signature(reserved.comet(), inputs.data)
        store = Store(config.variants)
        vocabularies.store_counted(config, source, store)
        room = reserved.room
        pool = WorkerPool.start(
            context_of(config, inputs.model, len(inputs.data.segments), reserved),
            room.workers,
            max(config.threads, 1),
            room.worker_gpus,
            config.name,
        )
        status = RunStatus(config.name, config.trials, recorder, pool, progress, phases_of(inputs), verbose)
        stack.callback(status.close)
        pool.on_wait = status.update
        finished, counts = steps(Run(inputs, run_dir, store, recorder, pool, status, progress))
        status.begin(phases.REPORT)
    progress.close()
    show(inputs, recorder, finished, counts, again)
    return finished


def phases_of(inputs: Inputs) -> Phases:
    """The phases that this run has."""
    config = inputs.config
    workload = Workload.of(config, inputs.source.structure, frozen_units(config, inputs.source))
    return Phases(workload, config.calibration, config.sense_segments / len(inputs.data.segments))


def steps(run: Run) -> tuple[bool, str]:
    """The run itself. Whether it came to its end, and a line on how many candidates were pruned."""
    pairs = needed(
        run.source.structure, levels_of(run.config), [*run.inputs.recipes.values(), original_policy(run.source)]
    )
    variants = Variants()
    original, reference = score_original(run, variants, [p for p in pairs if not codec(p[1]).uses_hessian])
    calibration = calibrate(run, reference)
    encode(run, variants, [p for p in pairs if codec(p[1]).uses_hessian], calibration)
    ledger = compress.Ledger(run.source, run.store, variants.levels, calibration)
    free_space = space_of_model(
        run.source,
        ledger,
        variants.errors,
        levels_of(run.config),
        frozen_units(run.config, run.source),
        run.config.vocabulary,
        run.config.drop,
        calibration,
    )
    space = tie(free_space, run.config.groups)
    constraint = SizeConstraint(space, ledger.predict)
    constraint.check_reachable(run.inputs.bins)
    describe_model(run, ledger, variants)
    sensitivities = measure_sensitivities(run, space, variants, calibration, reference)
    score_baselines(run, ledger, variants, calibration, reference, free_space)
    prune_iteratively(run, ledger, reference)
    return search(run, constraint, sensitivities, original, reference)


# The steps, in their order.


def score_original(run: Run, variants: Variants, plain: Sequence[UnitLevel]) -> tuple[Candidate, str]:
    """Scores the original and meanwhile encodes `plain`, what needs no calibration, into `variants`.

    Returns its row, and the key of the reference outputs: its translations, kept in the store.
    """
    known = run.recorder.find(ORIGINAL)
    work = run.encoding_jobs(plain, "")
    if known is None:
        work.insert(0, jobs.score(None) | {"name": ORIGINAL, "recipe": ORIGINAL})
    run.progress.say(f"encoding {len(run.source.structure.units)} units, scoring the original")
    scored: dict[str, Any] = {}
    for job, outcome in run.map(phases.ORIGINAL, work):
        if job["kind"] == jobs.BUILD:
            variants.add(outcome)
        elif "error" in outcome:
            raise UserError(f"the original model cannot be scored: {outcome['error']}")
        else:
            scored = outcome
    run.progress.say(f"encoded with the kernels {', '.join(sorted(variants.kernels))}")
    if known is None:
        policy = original_policy(run.source)
        ledger = compress.Ledger(run.source, run.store, set(policy.levels.values()))
        known = run.record(ORIGINAL, ORIGINAL, policy, ledger, scored)
    if known.status != SCORED:
        raise UserError(f"the original model cannot be scored: {known.error or 'no result'}")
    run.progress.say(
        f"original: COMET {known.comet:.4f}, chrF {known.chrf:.1f}, {known.bytes:,} bytes ({known.segments} segments)"
    )
    texts = run.recorder.table.read_by_name([ORIGINAL])[ORIGINAL].hypotheses
    return known, jobs.keep_reference_outputs(run.store, texts)


def calibrate(run: Run, reference: str) -> str:
    """Statistics of every matrix's inputs on the reference outputs; returns their digest, '' without calibration."""
    if not run.config.calibration:
        return ""
    ((_, outcome),) = run.map(phases.CALIBRATE, [jobs.calibrate(reference)])
    if "error" in outcome:
        raise UserError(f"calibrating failed: {outcome['error']}")
    return str(outcome["calibration"])


def encode(run: Run, variants: Variants, calibrated: Sequence[UnitLevel], calibration: str) -> None:
    """Encodes the levels that look at the calibration into `variants`."""
    for _, outcome in run.map(phases.ENCODE, run.encoding_jobs(calibrated, calibration)):
        variants.add(outcome)


def describe_model(run: Run, ledger: compress.Ledger, variants: Variants) -> None:
    """Writes what a report needs to draw a policy: units, their weights and their bytes at every level."""
    structure = run.source.structure
    units = [
        {
            "name": name,
            "layer": unit.layer,
            "weights": unit.weights,
            "sizes": {level: ledger.size(name, level) for encoded, level in variants.errors if encoded == name},
        }
        for name, unit in structure.units.items()
    ]
    description = {
        "digest": run.source.digest,
        "original_bytes": run.source.original_bytes,
        "layers": [layer.name for layer in structure.layers],
        "units": units,
    }
    run.run_dir.write("model.json", json.dumps(description))


def measure_sensitivities(run: Run, space: Space, variants: Variants, calibration: str, reference: str) -> ActionCosts:
    """KL to the original of single actions, those that are not known from earlier runs."""
    config = run.config
    key = sensitivity.cache_key(
        [run.source.digest, calibration, config.data, config.lang, str(config.sense_segments), reference]
    )
    cache = sensitivity.SensitivityCache(run.store, key, run.run_dir.path / "sensitivities.json")
    measured = cache.read(config.sensitivities)
    weights = {name: unit.weights for name, unit in run.source.structure.units.items()}
    known = {tuple(entry[:3]) for entry in measured}
    actions = sensitivity.actions_to_measure(space, weights, config.sensitivities == sensitivity.FULL)
    missing = [action for action in actions if action not in known]
    if missing:
        earlier = f", {len(measured)} known from earlier runs" if measured else ""
        run.progress.say(f"measuring {len(missing)} sensitivities{earlier}")
    work = [
        jobs.sense(piece, calibration, reference) for piece in sensitivity.split_actions(missing, len(run.pool.actors))
    ]
    for _, outcome in run.map(phases.SENSITIVITIES, work):
        if "error" in outcome:
            raise UserError(f"measuring sensitivities failed: {outcome['error']}")
        measured += outcome["sensed"]
        cache.write(measured)
    return sensitivity.sensitivity_table(space, variants.errors, measured)


def score_baselines(
    run: Run, ledger: compress.Ledger, variants: Variants, calibration: str, reference: str, space: Space
) -> None:
    """Published recipes and uniform levels, and with --score-drops the original without each single layer."""
    policies: dict[str, Policy] = {}
    for name, recipe in run.inputs.recipes.items():
        uses_calibration = any(codec(level).uses_hessian for level in recipe.levels.values())
        policy = replace(recipe, calibration=calibration) if uses_calibration else recipe
        reasons = [variants.unsupported[pair] for pair in policy.levels.items() if pair in variants.unsupported]
        if reasons:
            run.progress.say(f"recipe {name} is left out: {reasons[0]}")
        elif run.recorder.find(name) is None and near_the_bins(run, name, ledger.predict(policy)):
            policies[name] = policy
    if policies:
        run.progress.say(f"scoring {len(policies)} recipes")
    if run.config.score_drops:
        drops = single_drops(original_policy(run.source), run.source.structure, space)
        drops = {name: policy for name, policy in drops.items() if run.recorder.find(name) is None}
        if drops:
            run.progress.say(f"scoring the original without one layer: {len(drops)} candidates")
        policies |= drops
    work = [run.scoring_job(policy, reference, name, name) for name, policy in policies.items()]
    for job, outcome in run.map(phases.BASELINES, work):
        run.record(job["name"], job["recipe"], policies[job["name"]], ledger, outcome)


def near_the_bins(run: Run, name: str, size: int) -> bool:
    """Published recipes are always scored; uniform levels, of which there are many, only near the bins of this run."""
    return not name.startswith("uniform:") or any(
        NEAR[0] * each.low <= size < NEAR[1] * each.high for each in run.inputs.bins
    )


def prune_iteratively(run: Run, ledger: compress.Ledger, reference: str) -> None:
    """Moslem's greedy loop, if baselines are asked for and layers may be dropped: a round is a loop over jobs."""
    layers = lm_layers(run.source.structure) if run.config.baselines and run.config.drop else ()
    rounds = len(layers) // 4  # 8 of 32, as published
    if rounds < 1 or len(layers) - 2 < rounds:
        return
    pruning = IterativePruning(layers, rounds=rounds)

    def tell(candidate: Candidate) -> None:
        dropped = run.run_dir.read_policy(candidate.policy).dropped
        pruning.tell(dropped, candidate.chrf if candidate.status == SCORED else float("nan"))

    for candidate in run.recorder.candidates:
        if candidate.recipe == PRUNING and candidate.status in (SCORED, FAILED):
            tell(candidate)
    for layer in pruning.candidates:  # what --score-drops scored is its first round
        known = run.recorder.find(f"drop:{layer}")
        if known is not None and known.status == SCORED:
            tell(known)
    if not pruning.done:
        run.progress.say(f"{PRUNING}: {pruning.evaluations} evaluations to drop {rounds} layers")
    while not pruning.done:
        policies = {}
        for dropped in pruning.ask():
            name = f"pruned-{len(dropped)}-{dropped_last(dropped, pruning.dropped)}"
            policies[name] = without(original_policy(run.source), run.source.structure, dropped)
        work = [run.scoring_job(policy, reference, name, PRUNING) for name, policy in policies.items()]
        for job, outcome in run.map(phases.PRUNING, work):
            tell(run.record(job["name"], PRUNING, policies[job["name"]], ledger, outcome))
    run.progress.say(f"{PRUNING} drops {', '.join(pruning.dropped)}")


def search(
    run: Run, constraint: SizeConstraint, sensitivities: ActionCosts, original: Candidate, reference: str
) -> tuple[bool, str]:
    """The search under Ray Tune. Whether it came to its end, and a line on how many candidates were pruned."""
    config, bins = run.config, run.inputs.bins
    quality_model = QualityModel(constraint.space, sensitivities)
    bayesian = BayesianSampler(constraint, bins, quality_model, run.seed(), original.comet)
    manager = TrialManager(
        config, run.recorder, constraint, bayesian, run.count_parameters, reference, original.segments
    )
    sampler, storage = bayesian, None
    if config.sampler != BAYESIAN:
        sampler = make_sampler(config.sampler, constraint, bins, run.seed())
        storage = study_of(manager.earlier(), manager.distributions)
    uniform = first_choices(constraint, sensitivities, bins, round(FIRST_SHARE * config.trials))
    first = manager.begin_with(uniform)
    searcher = ParetoSearch(manager, run.pool, sampler, manager.distributions, storage, run.status, first)
    if manager.remaining > 0:
        rungs = " → ".join(config.rungs)
        run.progress.say(f"searching: {manager.remaining} candidates, sampler {config.sampler}, rungs {rungs}")
    run.status.begin(phases.SEARCH)
    return run_search(searcher, run.progress.stream), manager.summary()


def show(inputs: Inputs, recorder: Recorder, finished: bool, counts: str, again: str) -> None:
    """The front on the screen, the report in the run's folder."""
    config, run_dir = inputs.config, recorder.run_dir
    front = recorder.front()
    if not front:
        print(f"Stopped before anything was scored. To go on: {again}")
        return
    write_report(run_dir.path, config.data)
    inside = [c for c in front if any(each.holds(c.bytes) for each in inputs.bins)]
    sizes = f"{len(inside)} of {len(front)} on the whole front, {len(recorder.candidates)} candidates"
    print(f"\nThe front in {', '.join(each.name for each in inputs.bins)} ({sizes}):")
    print(to_text(inside) if inside else "  no candidate inside yet")
    if inputs.recipes and (table := beside_recipes(run_dir)):
        print(f"\nBeside the published recipes:\n{table}", end="")
    if counts:
        print(f"\n{counts[0].upper()}{counts[1:]}")
    print(f"\nPareto CSV  {run_dir.pareto}\nReport      {run_dir.path / 'report.html'}")
    if not finished:
        print(f"\nStopped before the end; nothing that was scored is lost. To go on: {again}")


def beside_recipes(run_dir: RunDir) -> str:
    """The table of a paper; empty as long as the original was not scored."""
    view = RunView.open(run_dir.path)
    return to_paper(paper_table(view)) if view.original is not None and view.original.comparable else ""
