"""Samplers side by side on the embedded model: hypervolume inside a bin and best COMET, against full evaluations.

    python -m benchmarks.search [--folder DIR] [--langs en-de,en-zh] [--bins Bin1,Bin2,Bin3] [--seeds 5] [--trials 20]

Every method gets the same number of full evaluations (COMET on all segments). Ours also measures KL, one forward
pass, of four policies for each one it scores, and begins with uniform policies (`ours-alone` does not); so does
`evolution-kl`, which is EvoPress as published (KL is its fitness, the best of each generation is scored): same KL
passes, same scores. The others do not use KL. Measurements are kept in the folder, and a benchmark that was killed
continues from them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna

import compress
from benchmarks.local_evaluator import LocalEvaluator
from benchmarks.search_table import below_uniform, draw, outside, table, verdict
from compress.codecs import codec
from compress.sizes import Bin
from results.pareto import hypervolume
from search.baselines import baselines
from search.iterative_pruning import IterativePruning, lm_layers
from search.sampling.base import distributions
from search.sampling.bayesian import BayesianSampler
from search.sampling.evolution import EvolutionSampler
from search.sampling.quality_model import QualityModel
from search.sampling.registry import make_sampler
from search.space.space import Choice
from search.space.uniform import first_choices

METHODS = ("ours", "ours-alone", "evolution-kl", "evolution", "nsga2", "tpe", "random", "iterative-pruning")
KLS = 4  # KLs for each score
MOST_UNIFORM = 5  # as for a search of 80 candidates
Scored = tuple[int, float]  # bytes and COMET


def ours(evaluator: LocalEvaluator, size_bin: Bin, seed: int, uniform: bool = True) -> Iterator[Scored]:
    """The bayesian sampler with the rungs KL → all, one at a time; after the uniform policies that a search begins with
    (they are among its evaluations)."""
    bayesian = BayesianSampler(
        evaluator.constraint,
        [size_bin],
        QualityModel(evaluator.space, evaluator.sensitivities),
        seed,
        evaluator.original,
    )
    kls = scored = 0
    first = first_choices(evaluator.constraint, evaluator.sensitivities, [size_bin], MOST_UNIFORM) if uniform else []
    for choice in first:
        size, comet = evaluator.constraint.size(choice), evaluator.comet(choice)
        bayesian.learn_kl(choice, size, evaluator.kl(choice))
        bayesian.learn(choice, size, comet)
        kls, scored = kls + 1, scored + 1
        yield size, comet
    while True:
        observation = bayesian.best_unscored(size_bin) if bayesian.warm and kls >= KLS * scored else None
        if observation is None:
            choice = bayesian.suggest(size_bin)
            bayesian.learn_kl(choice, evaluator.constraint.size(choice), evaluator.kl(choice))
            kls += 1
            continue
        comet = evaluator.comet(observation.choice)
        bayesian.learn(observation.choice, observation.size, comet)
        scored += 1
        yield observation.size, comet


def evolution_kl(evaluator: LocalEvaluator, size_bin: Bin, seed: int) -> Iterator[Scored]:
    """EvoPress: a generation of children by KL, the best becomes the parent and is scored."""
    sampler = EvolutionSampler(evaluator.constraint, [size_bin], seed)
    parent = sampler.uniform(size_bin) or sampler.child(evaluator.constraint.smallest(), size_bin)
    best = evaluator.kl(parent)
    yield evaluator.constraint.size(parent), evaluator.comet(parent)
    while True:
        for _ in range(KLS):
            child = sampler.child(parent, size_bin)
            if (kl := evaluator.kl(child)) < best:
                parent, best = child, kl
        yield evaluator.constraint.size(parent), evaluator.comet(parent)


def by_study(name: str, evaluator: LocalEvaluator, size_bin: Bin, seed: int) -> Iterator[Scored]:
    """A sampler that learns from scores only, through Optuna's ask and tell."""
    sampler = make_sampler(name, evaluator.constraint, (size_bin,), seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    space = distributions(evaluator.space)
    while True:
        trial = study.ask(space)
        choice = evaluator.space.from_parameters(trial.params)
        size, comet = evaluator.constraint.size(choice), evaluator.comet(choice)
        study.tell(trial, [comet, size])
        yield size, comet


def iterative_pruning(evaluator: LocalEvaluator, size_bin: Bin, seed: int) -> Iterator[Scored]:  # noqa: ARG001
    """Moslem's greedy loop over the LM layers (COMET as its measure), then one level for the rest, where he uses nf4.

    Each set is scored at the largest single level that brings it into the bin, or at the smallest where none does.
    """
    structure = evaluator.worker.source.structure
    layers = lm_layers(structure)
    pruning = IterativePruning(layers, rounds=min(6, len(layers) - 2))
    everywhere = np.isfinite(evaluator.space.sizes).all(axis=0)  # levels that every unit supports
    smallest = np.full(
        len(evaluator.space.units), np.where(everywhere, evaluator.space.sizes.sum(axis=0), np.inf).argmin()
    )
    while not pruning.done:
        for dropped in pruning.ask():
            mask = np.array([layer in dropped for layer in evaluator.space.layers])
            inside = []
            for column in np.flatnonzero(everywhere):
                choice = Choice(np.full(len(evaluator.space.units), column), mask)
                if size_bin.holds(evaluator.constraint.size(choice)):
                    inside.append(choice)
            choice = max(inside, key=evaluator.constraint.size) if inside else Choice(smallest, mask)
            comet = evaluator.comet(choice)
            pruning.tell(dropped, comet)
            yield evaluator.constraint.size(choice), comet if inside else 0.0  # outside the bin it does not count


def method(name: str, evaluator: LocalEvaluator, size_bin: Bin, seed: int) -> Iterator[Scored]:
    methods: dict[str, Callable[[LocalEvaluator, Bin, int], Iterator[Scored]]] = {
        "ours": ours,
        "ours-alone": partial(ours, uniform=False),
        "evolution-kl": evolution_kl,
        "iterative-pruning": iterative_pruning,
    }
    return methods[name](evaluator, size_bin, seed) if name in methods else by_study(name, evaluator, size_bin, seed)


def volumes(points: list[Scored], size_bin: Bin, top: float) -> list[float]:
    """Hypervolume after each evaluation, as a share of bin × the original's COMET."""
    area = (size_bin.high - size_bin.low) * top
    return [hypervolume(points[: n + 1], (size_bin.high, 0.0)) / area for n in range(len(points))]


def recipes(evaluator: LocalEvaluator) -> list[dict[str, Any]]:
    """The published recipes and uniform levels as points, also those outside every bin."""
    points = []
    for name, policy in baselines(evaluator.worker.source, evaluator.levels).items():
        calibrated = any(codec(level).uses_hessian for level in policy.levels.values())
        policy = replace(policy, calibration=evaluator.calibration if calibrated else "")
        comet = evaluator.comet_of(policy)
        encoding = compress.EncodeOptions(policy.vocabulary, policy.calibration)
        for unit, level in policy.levels.items():
            compress.build(evaluator.worker.source, unit, level, evaluator.worker.store, options=encoding)
        size = evaluator.ledger.predict(policy)
        names = [each.name for each in evaluator.bins.values() if each.holds(size)]
        points.append({"recipe": name, "bin": "".join(names), "lang": evaluator.lang, "point": (size, comet)})
    return points


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--folder", default="work/search", help="where measurements are kept")
    p.add_argument("--langs", default="en-de,en-zh")
    p.add_argument("--bins", default="Bin1,Bin2,Bin3")
    p.add_argument("--methods", default=",".join(METHODS))
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--trials", type=int, default=20, help="full evaluations of each method")
    p.add_argument("--segments", type=int, default=24)
    p.add_argument("--no-trellis", action="store_true", help="plain grid levels (another --folder for these)")
    p.add_argument("--table", action="store_true", help="only print the earlier measurements")
    p.add_argument("--picture", metavar="PNG")
    options = p.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = Path(options.folder)
    if not options.table:
        measure(folder, options)
    runs = [json.loads(line) for path in sorted(folder.glob("runs-*.jsonl")) for line in path.read_text().splitlines()]
    points = [point for path in sorted(folder.glob("recipes-*.json")) for point in json.loads(path.read_text())]
    print(f"{table(runs, points)}\n\n{verdict(runs)}\n\n{below_uniform(runs, points)}\n\n{outside(runs, points)}")
    if options.picture:
        draw(runs, points, Path(options.picture))
    return 0


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Runs seed by seed, so that an interrupted benchmark has all methods at fewer seeds."""
    for lang in options.langs.split(","):
        kl_segments = max(8, options.segments * 2 // 3)
        evaluator = LocalEvaluator(folder, lang, options.segments, kl_segments, not options.no_trellis)
        path = folder / f"runs-{lang}-{options.segments}-{options.trials}.jsonl"
        (folder / f"recipes-{lang}.json").write_text(json.dumps(recipes(evaluator)), encoding="utf-8")
        known = {tuple(json.loads(line)["key"]) for line in path.read_text().splitlines()} if path.exists() else set()
        for seed in range(options.seeds):
            for name in options.bins.split(","):
                for method_name in options.methods.split(","):
                    deterministic = method_name == "iterative-pruning"  # once is enough
                    key = (lang, name, method_name, seed)
                    if key in known or (deterministic and seed):
                        continue
                    run = run_once(evaluator, method_name, evaluator.bins[name], seed, options.trials)
                    with path.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps({"key": key, "segments": options.segments, **run}) + "\n")
                    print(key, f"{run['volumes'][-1]:.4f}" if run["volumes"] else "-", file=sys.stderr, flush=True)


def run_once(evaluator: LocalEvaluator, method_name: str, size_bin: Bin, seed: int, trials: int) -> dict[str, Any]:
    """One method, one seed."""
    started = time.perf_counter()
    points = [point for point, _ in zip(method(method_name, evaluator, size_bin, seed), range(trials), strict=False)]
    return {
        "points": points,
        "bin": [size_bin.name, size_bin.low, size_bin.high],
        "original": evaluator.original,
        "volumes": volumes(points, size_bin, evaluator.original),
        "trials": trials,
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    raise SystemExit(main())
