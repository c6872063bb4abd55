"""The command line of `python -m search.run`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from compress.cli import Parser
from compress.codecs import with_trellis
from compress.errors import UserError
from compress.models import check_model_name
from compress.sizes import BINS, parse_bytes
from evaluate.data.conditions import CONDITIONS
from evaluate.data.languages import LANGUAGES, check_language
from evaluate.decoding.batches import is_chat
from search import settings_file, trackers
from search.config import FREE_TO_CHANGE, TRIALS, Config, check_gpus_per_worker, check_name
from search.sampling.registry import BAYESIAN, NAMES, canonical
from search.space import vocabularies
from search.space.space import DEFAULT_LEVELS

EXAMPLES = """examples:
  python -m search.run --bin Bin2 --lang en-zh
  python -m search.run --bin Bin1 --bin Bin2 --lang en-de --trials 200 --name mine
  python -m search.run --resume mine --trials 400
  python -m search.run runs/mine/run.toml --seed 1 --name other
  python -m search.run --bin Bin2 --lang en-zh --model Qwen/Qwen2-Audio-7B-Instruct --data acl6060:/data/acl6060 \\
      --comet Unbabel/wmt22-comet-da --gpus-per-worker 1 --address auto
  python -m search.run --doctor
"""


RUNGS = ("kl", "part", "all")
HERE = "local"  # the --address that starts Ray on this machine, whatever the run that is resumed says
SAME_NAME = (  # settings that one option of the same name says
    *("lang", "model", "data", "comet", "trials", "sampler", "seed", "baselines", "score_drops", "sensitivities"),
    *("condition", "freeze", "groups", "max_bytes", "min_bytes", "vocabulary_texts", "drop", "calibration"),
    *("segments", "batch_size", "max_new_tokens", "workers", "gpus_per_worker", "threads", "store"),
    "log",
)


class RunParser(Parser):
    """Also says which options were given (`given`): those that are not are the run's own when it is resumed."""

    def parse_args(self, args: Any = None, _: Any = None) -> argparse.Namespace:  # type: ignore[override]
        defaults = vars(super().parse_args([]))
        missing = object()

        def parsed(arguments: Any) -> argparse.Namespace:
            preset = {name: None if value is None else missing for name, value in defaults.items()}
            options = super(RunParser, self).parse_args(arguments, argparse.Namespace(**preset))
            options.given = {name for name in defaults if getattr(options, name) not in (None, missing)}
            return options

        arguments = sys.argv[1:] if args is None else list(args)
        options = parsed(arguments)
        if options.settings:
            if options.resume is not None:
                raise UserError(f"{options.settings} and --resume: a run that goes on has its settings already")
            file = Path(options.settings)
            options = parsed([*settings_file.read(file, self, options.given), *arguments])
        for name, value in defaults.items():
            if getattr(options, name) is missing:
                setattr(options, name, value)
        return options


def parser() -> argparse.ArgumentParser:
    p = RunParser(
        prog="python -m search.run",
        usage="python -m search.run [RUN.toml] --bin BIN --lang PAIR [option]...",
        description="Search compression policies of a speech-translation model: the front of COMET against bytes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what is searched")
    what.add_argument(
        "settings", nargs="?", metavar="RUN.toml", help='a file of settings (lang = "en-zh", ...); flags override it'
    )
    what.add_argument(
        "--bin", action="append", metavar="BIN", help=f"{', '.join(BINS)}, or all that are in reach; may be repeated"
    )
    what.add_argument(
        "--max-bytes",
        type=parse_bytes,
        metavar="SIZE",
        help="instead of --bin: artifacts of fewer bytes; 569412, 500MB, 1.5GB (1e9) or 1.5GiB",
    )
    what.add_argument("--min-bytes", type=parse_bytes, metavar="SIZE", help="with --max-bytes: of no fewer (default 0)")
    what.add_argument("--lang", metavar="PAIR", help=f"language pair: {', '.join(LANGUAGES)}")
    what.add_argument("--trials", type=int, default=TRIALS, help=f"candidates asked of the sampler (default {TRIALS})")
    what.add_argument("--name", help="name of the run (default: language, bins and time)")
    what.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="NAME",
        help="go on with the run of that name, or of --name; everything else is as it was begun, and of it may change: "
        + ", ".join(f"--{name.replace('_', '-')}" for name in FREE_TO_CHANGE if name not in ("name", "runs", "device")),
    )
    what.add_argument(
        "--plan",
        action="store_true",
        help="print units, levels, bins and times, then stop; loads no weights and needs no --data",
    )
    what.add_argument(
        "--doctor", action="store_true", help="check versions, GPUs, Ray, COMET, model and disk, then stop"
    )
    data = p.add_argument_group("model and data")
    data.add_argument("--model", default="embedded", help="embedded (default), a folder, or a hub name")
    data.add_argument(
        "--data", help="embedded, acl6060:DIR or manifest:FILE.csv[,AUDIO_ROOT]; the dev split is searched on"
    )
    data.add_argument(
        "--comet", help="embedded, a checkpoint, or a hub name (default outside the embedded model: wmt22-comet-da)"
    )
    data.add_argument("--segments", type=int, help="score on the first N segments of dev (default: all; embedded: 64)")
    data.add_argument(
        "--condition", default="unconstrained", help="unconstrained (default), constrained: ACL 60/60 only"
    )
    data.add_argument("--batch-size", type=int, help="segments translated at once (default 32; embedded: 64)")
    data.add_argument("--max-new-tokens", type=int, help="longest translation in tokens (default 256; embedded: 64)")
    search = p.add_argument_group("search")
    search.add_argument("--sampler", default=BAYESIAN, type=canonical, help=f"{', '.join(NAMES)} (default {BAYESIAN})")
    search.add_argument("--seed", type=int, default=0)
    search.add_argument(
        "--rungs",
        help="measures a candidate climbs while it has a chance: kl,all (default), kl,part,all, part,all or all",
    )
    search.add_argument(
        "--sensitivities",
        default="quick",
        metavar="HOW",
        help="quick (default: two levels a unit, and drops), full (every level), or a run's sensitivities.json;"
        " what was measured once is kept for later runs",
    )
    search.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="score the published recipes too (default: on for the embedded model)",
    )
    search.add_argument(
        "--score-drops",
        action="store_true",
        help="score the original without each layer that may be dropped too, COMET and chrF: rows drop:LAYER (KL is"
        " measured anyhow)",
    )
    search.add_argument(
        "--recover", type=int, default=0, metavar="N", help="train the N best of the bins afterwards (search.recover)"
    )
    compression = p.add_argument_group("compression")
    compression.add_argument(
        "--levels", help="comma-separated levels to choose from (default: a ladder from raw to grid@1)"
    )
    compression.add_argument(
        "--trellis",
        action=argparse.BooleanOptionalAction,
        help="`grid` levels with a trellis: less damage at the same bytes, several times as long to encode, and no"
        " integers for `codes` and `distill` to train, only scales (default: yes, but not with --recover or --levels)",
    )
    compression.add_argument(
        "--vocabulary",
        metavar="NAMES",
        help="comma-separated vocabularies to choose from: full, scripts (those of the two languages), top:N (the N"
        " most used tokens of --vocabulary-texts); default: full,scripts where the tokenizer can be trimmed",
    )
    compression.add_argument(
        "--vocabulary-texts", default="", metavar="FILE", help="text whose most used tokens stay in top:N"
    )
    compression.add_argument("--no-drop", dest="drop", action="store_false", help="never drop a layer")
    compression.add_argument(
        "--no-calibration", dest="calibration", action="store_false", help="encode without looking at the speech"
    )
    compression.add_argument("--freeze", default="", metavar="REGEX", help="units whose names match stay as they are")
    compression.add_argument(
        "--groups",
        default="",
        metavar="HOW",
        help="tie units: layer (all units of a layer at one level), or N (N neighbouring layers alike)",
    )
    cluster = p.add_argument_group("cluster")
    cluster.add_argument(
        "--address",
        help=f"address of a running Ray cluster, auto, or {HERE} (default: start Ray on this machine)",
    )
    cluster.add_argument(
        "--workers", type=int, default=0, help="workers at once (default: as many as there is room for)"
    )
    cluster.add_argument("--gpus-per-worker", type=float, default=None, help="default 1 where there are GPUs, else 0")
    cluster.add_argument(
        "--threads", type=int, default=0, help="of each worker (default: all CPUs but one, shared out)"
    )
    output = p.add_argument_group("output")
    output.add_argument("--runs", default="runs", metavar="DIR", help="folder of the runs (default runs/)")
    output.add_argument(
        "--verbose", action="store_true", help="technical counters too while it runs: hypervolume, cache hits, speed"
    )
    output.add_argument(
        "--log",
        default=(),
        type=trackers.parse,
        metavar="TRACKER",
        help="log candidates as the steps of one run: tensorboard (into RUN/tensorboard), wandb, mlflow, or several",
    )
    output.add_argument("--store", default="", metavar="DIR", help="where encoded units are kept (default RUNS/.store)")
    return p


def check_bytes(options: argparse.Namespace) -> None:
    if options.bin:
        raise UserError("--bin and --max-bytes: give one of them")
    if options.max_bytes is None:
        raise UserError("--min-bytes needs --max-bytes")
    if options.max_bytes <= (options.min_bytes or 0) or (options.min_bytes or 0) < 0:
        least = options.min_bytes or 0
        raise UserError(f"--max-bytes {options.max_bytes:,}: more than --min-bytes ({least:,}) is needed")


def check_rungs(text: str | None, sampler: str) -> tuple[str, ...]:
    """The rungs in their order. Only the bayesian sampler makes something of a KL."""
    if text is None:
        return ("kl", "all") if sampler == BAYESIAN else ("all",)
    rungs = tuple(text.split(","))
    if (
        any(rung not in RUNGS for rung in rungs)
        or rungs[-1] != "all"
        or list(rungs) != [r for r in RUNGS if r in rungs]
    ):
        raise UserError(f"--rungs {text}: give kl,all, kl,part,all, part,all or all")
    if "kl" in rungs and sampler != BAYESIAN:
        raise UserError(f"--rungs {text}: sampler {sampler} learns from scores only, leave kl out")
    return rungs


def check_groups(text: str) -> None:
    if text and text != "layer" and not (text.isdigit() and int(text) >= 1):
        raise UserError(f"--groups {text}: give layer, or the number of neighbouring layers to treat alike")


def check_regex(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise UserError(f"--freeze {text}: not a regular expression ({error})") from None


def parse_levels(text: str | None, trellis: bool | None) -> tuple[str, ...]:
    """Levels to choose from; none where the plain default is meant."""
    levels = tuple(filter(None, (text or "").split(",")))
    if not trellis:
        return levels
    return tuple(dict.fromkeys(with_trellis(level) for level in levels or DEFAULT_LEVELS))


def to_config(options: argparse.Namespace) -> Config:
    """The configuration that the arguments describe. Raises UserError for what cannot be meant."""
    check_values(options)
    return as_begun(options) if options.resume is not None else from_options(options)


def check_values(options: argparse.Namespace) -> None:
    """What is wrong by itself, whatever the run."""
    if options.lang:
        check_language(options.lang)
    for name in options.bin or ():
        if name not in BINS and name != "all":
            raise UserError(f"unknown bin '{name}': known are {', '.join(BINS)} and all")
    for flag, least in (
        *(("trials", 0), ("recover", 0), ("workers", 0), ("batch_size", 1), ("max_new_tokens", 1), ("segments", 1)),
    ):
        if getattr(options, flag) is not None and getattr(options, flag) < least:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(options, flag)}: at least {least}")
    if options.threads < 0:
        raise UserError(f"--threads {options.threads}: at least 1, or 0 to share out the CPUs")
    check_gpus_per_worker(options.gpus_per_worker)
    if options.levels is not None and not parse_levels(options.levels, trellis=False):
        raise UserError(f"--levels '{options.levels}': name at least one, such as grid@2, or leave --levels away")
    check_groups(options.groups)
    check_regex(options.freeze)
    if options.condition not in CONDITIONS:
        raise UserError(f"unknown condition '{options.condition}': known are {', '.join(CONDITIONS)}")


def check_config(config: Config) -> None:
    """What is wrong by itself in a configuration that was not made from arguments."""
    share = None if config.gpus_per_worker == -1 else config.gpus_per_worker
    absent = {"recover": 0, "levels": None, "gpus_per_worker": share}
    options = argparse.Namespace(**{**asdict(config), **absent, "bin": list(config.bins)})
    check_values(options)
    if config.max_bytes is not None or config.min_bytes is not None:
        check_bytes(options)
    elif not config.bins:
        raise UserError("bins is empty: name one, or give max_bytes")
    check_language(config.lang)
    check_rungs(",".join(config.rungs), canonical(config.sampler))
    check_name(config.name)


def as_begun(options: argparse.Namespace) -> Config:
    """The configuration of the run that is resumed, with what was given on the command line in it."""
    name = options.resume or options.name
    if not name:
        raise UserError("--resume needs the name of the run to go on with: --resume NAME")
    if options.name not in (None, name):
        raise UserError(f"--resume {name} and --name {options.name}: give one name")
    path = Path(options.runs) / check_name(name) / "config.json"
    if not path.is_file():
        raise UserError(f"--resume: there is no run '{name}' in {options.runs} (looked for {path})")
    begun = Config.read(path)
    given: set[str] = options.given
    changes = settings_of(options, given)
    if "bin" in given:
        changes["bins"] = tuple(dict.fromkeys(options.bin))
    if given & {"levels", "trellis"}:
        changes["levels"] = parse_levels(options.levels, options.trellis)
    if "rungs" in given:
        changes["rungs"] = check_rungs(options.rungs, changes.get("sampler", begun.sampler))
    if "vocabulary" in given:
        texts = options.vocabulary_texts or begun.vocabulary_texts
        changes["vocabulary"] = vocabularies.parse(options.vocabulary, begun.lang, texts)
    if "address" in given:
        changes["address"] = None if options.address == HERE else options.address
    return replace(begun, **changes, runs=options.runs, name=name)


def settings_of(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those settings among the names that an option of the same name says."""
    return {name: getattr(options, name) for name in SAME_NAME if name in names}


def from_options(options: argparse.Namespace) -> Config:
    """The configuration of a new run."""
    if options.max_bytes is not None or options.min_bytes is not None:
        check_bytes(options)
    elif not options.bin:
        raise UserError(f"--bin is missing: give {', '.join(BINS)}, all, or --max-bytes")
    if not options.lang:
        raise UserError(f"--lang is missing: give one of {', '.join(LANGUAGES)}")
    bins = tuple(dict.fromkeys(options.bin or ()))
    embedded = options.model == "embedded"
    data = options.data or ("embedded" if embedded else "")
    if not data and not options.plan:
        check_model_name(options.model)
        raise UserError(f"--data is missing: model {options.model} needs acl6060:DIR or manifest:FILE.csv")
    if options.score_drops and not options.drop:
        raise UserError("--score-drops and --no-drop: no layer may be dropped, so leave one of them out")
    trellis = not options.recover if options.trellis is None and options.levels is None else options.trellis
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    derived: dict[str, Any] = {
        "data": data,
        "comet": options.comet or ("embedded" if data == "embedded" else "Unbabel/wmt22-comet-da"),
        "baselines": embedded if options.baselines is None else options.baselines,
        "segments": options.segments if options.segments is not None else (64 if data == "embedded" else None),
        "batch_size": options.batch_size or (64 if embedded else 32),
        "max_new_tokens": options.max_new_tokens or (64 if embedded else 256),
        "gpus_per_worker": -1.0 if options.gpus_per_worker is None else options.gpus_per_worker,
    }
    return Config(
        **{**settings_of(options, SAME_NAME), **derived},
        bins=bins,
        rungs=check_rungs(options.rungs, options.sampler),
        levels=parse_levels(options.levels, trellis),
        vocabulary=vocabularies.parse(options.vocabulary, options.lang, options.vocabulary_texts),
        sense_segments=16 if data == "embedded" else 32,
        chat=is_chat(options.model),
        address=None if options.address == HERE else options.address,
        runs=options.runs,
        name=check_name(options.name or f"{options.lang}-{'-'.join(bins) or options.max_bytes}-{stamp}"),
    )
