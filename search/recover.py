"""`python -m search.recover RUN --select RULE|--candidates … --methods distill,qlora --top 4`: training after a search.

The best candidates are trained on the Ray cluster; each becomes a row of the run's table and front, with its parent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.cli import Parser, run
from compress.errors import UserError
from compress.models import resolve_model

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parser() -> Parser:
    from search.recovery.methods import METHODS

    told = "\n".join(f"  {name:<11} {m.about}" for name, m in METHODS.items())
    p = Parser(
        prog="python -m search.recover",
        description="Recover the best candidates of a run by training, on the Ray cluster.",
        epilog=f"methods:\n{told}\n  lora:16, lora:16:grid@4: adapters of another rank, stored at another level",
        formatter_class=_Raw,
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
    p.add_argument("--workers", type=int, default=0, help="recoveries at once (default: as many as there is room for)")
    p.add_argument("--gpus-per-worker", type=float, help="default 1 where there are GPUs, else 0")
    p.add_argument("--address", help="address of a running Ray cluster, or auto (default: start Ray on this machine)")
    return p


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE as a table, refused at once if there is no such setting."""
    from compress.recovery.settings import Settings

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair}: write NAME=VALUE, such as epochs=1")
        found[name.strip()] = value.strip()
    Settings().but(**found)
    return found


def chosen(path: Path, rule: str, candidates: str | None, top: int, bin_name: str | None) -> list[Any]:
    """Candidates by name, or the ones a rule takes when asked again and again."""
    from results.runs import RunView

    found = RunView.open(path)
    if candidates:
        return [found.find(name.strip()) for name in candidates.split(",") if name.strip()]
    if top < 1:
        raise UserError(f"--top {top}: at least 1")
    return ranked(found, rule, found.candidates_in(bin_name), top)


def ranked(found: Any, rule: str, among: Sequence[Any], top: int) -> list[Any]:
    """The first of a rule, the first without that one, and so on; what is recovered already is not begun with."""
    from results.selection import apply_rule

    left = [c for c in among if not c.parent and c.candidate != "original"]
    taken: list[Any] = []
    while len(taken) < top:
        try:
            choice = apply_rule(rule, left, found.all_bins, found.with_texts)
        except UserError:
            if not taken:
                raise
            break
        taken.append(choice.candidate)
        left = [c for c in left if c.candidate != choice.candidate.candidate]
    return taken


def after_search(config: Any, count: int) -> None:
    """`search.run --recover N`: the N best inside each range of bytes that the run was asked for."""
    from results.runs import RunView

    found = RunView.open(config.folder)
    names: dict[str, None] = {}
    for name, low, high in found.bins:
        inside = [c for c in found.candidates if low <= c.bytes < high]
        try:
            names |= {c.candidate: None for c in ranked(found, "best", inside, count)}
        except UserError:
            _say(f"nothing to recover in {name}: no candidate of the search was scored inside it")
    if names:
        more = ["--address", config.address] if config.address else []
        more += ["--workers", str(config.workers)] if config.workers else []
        main([str(config.folder), "--candidates", ",".join(names), *more])


def lessons(given: Any, config: Any, runs: Path) -> tuple[str, str]:
    """What is trained on, and its split."""
    if given.train == "dev":
        return config.data, given.train_split or "dev"
    if given.train:
        return given.train, given.train_split or "train"
    if config.data == "embedded":
        from search.recovery.synthetic_speech import speak

        return f"manifest:{speak(runs / '.speech').resolve()}", "train"
    return config.data, given.train_split or "dev"


def main(arguments: list[str]) -> None:
    given = parser().parse_args(arguments)
    from dataclasses import replace

    from evaluate.data.conditions import CONDITIONS
    from search.config import Config
    from search.recovery.data import open_lessons
    from search.recovery.methods import parse
    from search.run_dir import RunDir

    methods = parse(given.methods)
    told = settings(given.set)
    path = Path(given.run)
    picked = chosen(path, given.select, given.candidates, given.top, given.bin)
    config = Config.read(path / "config.json")
    condition = given.condition or getattr(config, "condition", "") or CONDITIONS[1]
    spec, split = lessons(given, config, path.resolve().parent)
    open_lessons(spec, split, config.lang, condition, given.held_out)  # what cannot be trained on is refused here
    config = replace(config, runs=str(path.resolve().parent), name=path.resolve().name, workers=given.workers)
    config = replace(
        config, address=given.address, gpus_per_worker=-1.0 if given.gpus_per_worker is None else given.gpus_per_worker
    )
    folder = RunDir(config, resume=True)
    try:
        launch(config, folder, picked, [m.name for m in methods], given, told, (spec, split, condition))
    finally:
        folder.release()


def launch(
    config: Any, folder: Any, picked: list[Any], methods: list[str], given: Any, told: dict[str, str], train: Any
) -> None:
    """Ray, scorers, and the board; then the front."""
    import compress
    import embedded
    from results.formats import to_text
    from results.html.write import write_report
    from search.recorder import Recorder
    from search.recovery.runner import PendingTrial, Where, recover_run
    from search.resources import resources, store_of

    if config.data == "embedded" and config.comet == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model = str(resolve_model(config.model))
    comet = str(embedded.COMET) if config.comet == "embedded" else config.comet
    source = compress.Source.open(model)
    recorder = Recorder(folder, source.original_bytes, config.bins_in_bytes(source.original_bytes))
    spec = config.eval_spec("dev")
    data = spec.open_data()
    with resources(config, f"recover-{config.name}", comet, _say) as reserved:
        workers, gpus = reserved.room.workers, reserved.room.worker_gpus
        signature = spec.signature(reserved.comet(), data)
        recorder.signature = lambda: signature
        context = Where(
            model=model,
            store=store_of(config),
            data=config.data,
            split="dev",
            lang=config.lang,
            segments=config.segments,
            chat=config.chat,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            scorers=reserved.scorers,
            device=reserved.device,
            threads=config.threads,
        )
        batch = given.train_batch or (16 if config.model == "embedded" else 4)
        asked = PendingTrial(train[0], train[1], train[2], given.held_out, given.teacher, batch, dict(told))
        rows = recover_run(folder, recorder, context, picked, methods, asked, gpus, workers, _say)
    print(f"\nThe front of {folder.path} ({len(rows)} rows more):")
    print(to_text(recorder.front()))
    write_report(folder.path, f"{config.name}: {config.model}, {config.lang}", bins=recorder.bins)
    print(f"\nReport      {folder.path / 'report.html'}")


def _say(text: str) -> None:
    print(text, flush=True)


def _raw() -> Any:
    import argparse

    return argparse.RawDescriptionHelpFormatter


_Raw = _raw()

if __name__ == "__main__":
    sys.exit(run(main))
