"""`python -m search.recover RUN --select RULE|--candidates … --methods distill,qlora --top 4`: training after a search.

The best candidates are trained on the Ray cluster; each becomes a row of the run's table and front, with its parent.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import compress
import embedded
from compress.cli import Parser, run
from compress.errors import UserError
from compress.models import resolve_model
from compress.recovery.settings import parse_settings
from evaluate.data.conditions import CONDITIONS
from results.candidate import FAILED, Candidate
from results.formats import to_text
from results.html.page import write_report
from results.outside import confirmed, confirmed_store
from results.runs import RunView
from results.selection import apply_rule
from search.config import Config, check_gpus_per_worker
from search.recorder import Recorder
from search.recovery.data import check_share, open_lessons
from search.recovery.job import reporting
from search.recovery.methods import METHODS, parse
from search.recovery.runner import RecoveryOptions, recover_run
from search.recovery.synthetic_speech import speak
from search.resources import check_cluster, context_of, resources
from search.run_dir import RunDir

OUTSIDE = ("model", "data", "comet", "store")  # what a run's folder names outside of itself

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parser() -> Parser:
    methods = "\n".join(f"  {name:<11} {m.about}" for name, m in METHODS.items())
    p = Parser(
        prog="python -m search.recover",
        description="Recover the best candidates of a run by training, on the Ray cluster.",
        epilog=f"methods:\n{methods}\n  lora:16, lora:16:grid@4: adapters of another rank, stored at another level",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("run", metavar="RUN", help="folder of a run")
    which = p.add_mutually_exclusive_group()
    which.add_argument(
        "--select", metavar="RULE", default="best", help="as in results.select, --top times (default best)"
    )
    which.add_argument("--candidates", metavar="IDS", help="comma-separated candidates instead")
    p.add_argument("--top", type=int, default=4, help="how many the rule selects (default 4)")
    p.add_argument("--bin", help="with --select: among the candidates of this bin")
    p.add_argument("--methods", default="distill", help="comma-separated, see below (default distill)")
    p.add_argument(
        "--train", help="data to train on; 'dev' is the run's own dev split (default: embedded speech, or dev)"
    )
    p.add_argument("--train-split", help="its split (default train; dev with --train dev)")
    p.add_argument("--condition", help="constrained or unconstrained (default: that of the run, else unconstrained)")
    p.add_argument("--held-out", type=float, default=0.15, help="share held out, in whole talks (default 0.15)")
    p.add_argument("--teacher", default="", help="folder of a teacher (default: the original model)")
    p.add_argument("--train-batch", type=int, help="segments trained at once (default 4 as published; embedded: 16)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a training setting, e.g. epochs=1")
    for what in OUTSIDE:
        p.add_argument(f"--{what}", help="that of the run, where it is not a default: what a run names is not obeyed")
    p.add_argument("--workers", type=int, default=0, help="recoveries at once (default: as many as there is room for)")
    p.add_argument("--gpus-per-worker", type=float, help="default 1 where there are GPUs, else 0")
    p.add_argument("--address", help="address of a running Ray cluster, or auto (default: start Ray on this machine)")
    return p


def selected(run: RunView, rule: str, candidates: str | None, top: int, bin_name: str | None) -> list[Candidate]:
    """Candidates by name, or the `top` best by a rule."""
    if candidates:
        return [run.find(name.strip()) for name in candidates.split(",") if name.strip()]
    if top < 1:
        raise UserError(f"--top {top}: at least 1")
    return ranked(run, rule, run.candidates_in(bin_name), top)


def ranked(run: RunView, rule: str, among: Sequence[Candidate], top: int) -> list[Candidate]:
    """The rule's selection, its selection without that one, and so on. Recovered candidates are left out."""
    left = [c for c in among if not c.parent and c.candidate != "original"]
    ranking: list[Candidate] = []
    while len(ranking) < top:
        try:
            best = apply_rule(rule, left, run.all_bins, run.with_texts).candidate
        except UserError:
            if not ranking:
                raise
            break
        ranking.append(best)
        left = [c for c in left if c.candidate != best.candidate]
    return ranking


def after_search(config: Config, count: int) -> None:
    """`search.run --recover N`: the N best inside each bin of the run."""
    run = RunView.open(config.folder)
    names: dict[str, None] = {}
    for each in run.bins:
        inside = [c for c in run.candidates if each.holds(c.bytes)]
        try:
            names |= {c.candidate: None for c in ranked(run, "best", inside, count)}
        except UserError:
            _say(f"nothing to recover in {each.name}: no candidate of the search was scored inside it")
    if names:
        more = ["--address", config.address] if config.address else []
        more += ["--workers", str(config.workers)] if config.workers else []
        more += [f"--{what}={value}" for what in OUTSIDE if (value := getattr(config, what))]
        main([str(config.folder), "--candidates", ",".join(names), *more])


def training_data(options: argparse.Namespace, config: Config, runs: Path) -> tuple[str, str]:
    """What is trained on, and its split."""
    if options.train == "dev":
        return config.data, options.train_split or "dev"
    if options.train:
        return options.train, options.train_split or "train"
    if config.data == "embedded":
        return f"manifest:{speak(runs / '.speech').resolve()}", "train"
    return config.data, options.train_split or "dev"


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    methods = [method.name for method in parse(options.methods)]
    settings = parse_settings(options.set)
    check_share(options.held_out)
    check_gpus_per_worker(options.gpus_per_worker)
    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: at least 1, or 0 for as many as there is room for")
    if options.train_batch is not None and options.train_batch < 1:
        raise UserError(f"--train-batch {options.train_batch}: at least 1")
    path = Path(options.run).resolve()
    candidates = selected(RunView.open(path), options.select, options.candidates, options.top, options.bin)
    config = Config.read(path / "config.json")
    named = asdict(config)
    config = replace(
        config,
        model=confirmed(named, "model", options.model),
        data=confirmed(named, "data", options.data),
        comet=confirmed(named, "comet", options.comet),
        store=confirmed_store(path, named, options.store) or "",
    )
    train, split = training_data(options, config, path.parent)
    recovery = RecoveryOptions(
        train=train,
        train_split=split,
        condition=options.condition or config.condition or CONDITIONS[1],
        held_out=options.held_out,
        teacher=options.teacher,
        train_batch=options.train_batch or (16 if config.model == "embedded" else 4),
        settings=dict(settings),
    )
    # What is not allowed, and data that would leave nothing to score on, are refused before anything starts.
    lessons = open_lessons(train, split, config.lang, recovery.condition, recovery.held_out)
    reporting(config.eval_spec("dev"), lessons, train)
    config = replace(
        config,
        runs=str(path.parent),
        name=path.name,
        workers=options.workers,
        address=options.address,
        gpus_per_worker=-1.0 if options.gpus_per_worker is None else options.gpus_per_worker,
    )
    check_cluster(config)
    run_dir = RunDir(config, resume=True)
    try:
        recover(config, run_dir, candidates, methods, recovery)
    finally:
        run_dir.release()


def recover(
    config: Config, run_dir: RunDir, candidates: list[Candidate], methods: list[str], options: RecoveryOptions
) -> None:
    """Ray, scorers, all recoveries; then the front and the report."""
    if config.data == "embedded" and config.comet == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model = str(resolve_model(config.model))
    comet = str(embedded.COMET) if config.comet == "embedded" else config.comet
    source = compress.Source.open(model)
    recorder = Recorder(run_dir, source.original_bytes, config.bins_in_bytes(source.original_bytes))
    data = config.eval_spec("dev").open_data()
    with resources(config, f"recover-{config.name}", comet, "the same command goes on", _say) as reserved:
        context = context_of(config, model, len(data.segments), reserved)
        signature = context.spec.signature(reserved.comet(), data)
        recorder.signature = lambda: signature
        room = reserved.room
        rows = recover_run(
            run_dir, recorder, context, candidates, methods, options, room.worker_gpus, room.workers, _say
        )
    failed = sum(row.status == FAILED for row in rows)
    more = f"{len(rows) - failed} rows more" + (f", {failed} failed" if failed else "")
    print(f"\nThe front of {run_dir.path} ({more}):")
    print(to_text(recorder.front()))
    write_report(run_dir.path, config.data)
    print(f"\nReport      {run_dir.path / 'report.html'}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
