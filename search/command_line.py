"""The command line of `python -m search.run`."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from pathlib import Path

from compress.cli import Parser
from compress.codecs import with_trellis
from compress.errors import UserError
from compress.models import check_model_name
from compress.sizes import BINS
from evaluate.data.conditions import CONDITIONS
from evaluate.data.languages import LANGUAGES, check_language
from evaluate.decoding.batches import is_chat
from search.config import TRIALS, Config, check_gpus_per_worker, check_name
from search.sampling.registry import BAYESIAN, NAMES, canonical
from search.space import vocabularies
from search.space.space import DEFAULT_LEVELS

EXAMPLES = """examples:
  python -m search.run --bin Bin2 --lang en-zh
  python -m search.run --bin Bin1 --bin Bin2 --lang en-de --trials 200 --name mine
  python -m search.run --bin Bin1 --bin Bin2 --lang en-de --trials 400 --name mine --resume
  python -m search.run --bin Bin2 --lang en-zh --model Qwen/Qwen2-Audio-7B-Instruct --data acl6060:/data/acl6060 \\
      --comet Unbabel/wmt22-comet-da --gpus-per-worker 1 --address auto
  python -m search.run --doctor
"""


RUNGS = ("kl", "part", "all")


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m search.run",
        description="Search compression policies of a speech-translation model: the front of COMET against bytes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--bin", action="append", metavar="BIN", help=f"{', '.join(BINS)} or all; may be repeated")
    p.add_argument("--lang", metavar="PAIR", help=f"language pair: {', '.join(LANGUAGES)}")
    p.add_argument("--model", default="embedded", help="embedded (default), a folder, or a hub name")
    p.add_argument(
        "--data", help="embedded, acl6060:DIR or manifest:FILE.csv[,AUDIO_ROOT]; the dev split is searched on"
    )
    p.add_argument(
        "--comet", help="embedded, a checkpoint, or a hub name (default outside the embedded model: wmt22-comet-da)"
    )
    p.add_argument("--max-bytes", type=int, metavar="N", help="instead of --bin: artifacts of fewer than N bytes")
    p.add_argument("--min-bytes", type=int, metavar="N", help="with --max-bytes: of at least N bytes (default 0)")
    p.add_argument("--trials", type=int, default=TRIALS, help=f"candidates asked of the sampler (default {TRIALS})")
    p.add_argument("--workers", type=int, default=0, help="workers at once (default: as many as there is room for)")
    p.add_argument("--gpus-per-worker", type=float, default=None, help="default 1 where there are GPUs, else 0")
    p.add_argument("--threads", type=int, default=0, help="of each worker (default: all CPUs but one, shared out)")
    p.add_argument("--sampler", default=BAYESIAN, type=canonical, help=f"{', '.join(NAMES)} (default {BAYESIAN})")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--rungs",
        help="measures a candidate climbs while it has a chance: kl,all (default), kl,part,all, part,all or all",
    )
    p.add_argument(
        "--sensitivities",
        default="quick",
        metavar="HOW",
        help="quick (default: two levels a unit, and drops), full (every level), or a run's sensitivities.json;"
        " what was measured once is kept for later runs",
    )
    p.add_argument("--condition", default="unconstrained", help="unconstrained (default), constrained: ACL 60/60 only")
    p.add_argument("--freeze", default="", metavar="REGEX", help="units whose names match stay as they are")
    p.add_argument(
        "--groups",
        default="",
        metavar="HOW",
        help="tie units: layer (all units of a layer at one level), or N (N neighbouring layers alike)",
    )
    p.add_argument(
        "--plan", action="store_true", help="print units, levels, bins and times, then stop; loads no weights"
    )
    p.add_argument("--levels", help="comma-separated levels to choose from (default: a ladder from raw to grid@1)")
    p.add_argument(
        "--trellis",
        action=argparse.BooleanOptionalAction,
        help="`grid` levels with a trellis: less damage at the same bytes, several times as long to encode, and no"
        " integers for `codes` and `distill` to train, only scales (default: yes, but not with --recover or --levels)",
    )
    p.add_argument(
        "--vocabulary",
        metavar="NAMES",
        help="comma-separated vocabularies to choose from: full, scripts (those of the two languages), top:N (the N"
        " most used tokens of --vocabulary-texts); default: full,scripts where the tokenizer can be trimmed",
    )
    p.add_argument("--vocabulary-texts", default="", metavar="FILE", help="text whose most used tokens stay in top:N")
    p.add_argument("--no-drop", dest="drop", action="store_false", help="never drop a layer")
    p.add_argument(
        "--no-calibration", dest="calibration", action="store_false", help="encode without looking at the speech"
    )
    p.add_argument("--segments", type=int, help="score on the first N segments of dev (default: all; embedded: 64)")
    p.add_argument("--batch-size", type=int, help="segments translated at once (default 32; embedded: 64)")
    p.add_argument("--max-new-tokens", type=int, help="longest translation in tokens (default 256; embedded: 64)")
    p.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="score the published recipes too (default: on for the embedded model)",
    )
    p.add_argument(
        "--score-drops",
        action="store_true",
        help="score the original without each layer that may be dropped too, COMET and chrF: rows drop:LAYER (KL is"
        " measured anyhow)",
    )
    p.add_argument(
        "--recover", type=int, default=0, metavar="N", help="train the N best of the bins afterwards (search.recover)"
    )
    p.add_argument("--runs", default="runs", metavar="DIR", help="folder of the runs (default runs/)")
    p.add_argument("--store", default="", metavar="DIR", help="where encoded units are kept (default RUNS/.store)")
    p.add_argument("--name", help="name of the run (default: language, bins and time)")
    p.add_argument("--resume", action="store_true", help="go on with the run of that --name")
    p.add_argument("--address", help="address of a running Ray cluster, or auto (default: start Ray on this machine)")
    p.add_argument("--doctor", action="store_true", help="check versions, GPUs, Ray, COMET, model and disk, then stop")
    return p


def check_bytes(options: argparse.Namespace) -> None:
    if options.bin:
        raise UserError("--bin and --max-bytes: give one of them")
    if options.max_bytes is None:
        raise UserError("--min-bytes needs --max-bytes")
    if options.max_bytes <= (options.min_bytes or 0) or (options.min_bytes or 0) < 0:
        raise UserError(f"--max-bytes {options.max_bytes}: more than --min-bytes ({options.min_bytes or 0}) is needed")


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


def default_levels(options: argparse.Namespace) -> tuple[str, ...]:
    """The default levels: those of the run that is resumed; else with a trellis, unless integers may be trained
    afterwards."""
    begun = Path(options.runs) / (options.name or "") / "config.json"
    if options.trellis is None and options.resume and begun.is_file():
        return Config.read(begun).levels
    return parse_levels(None, not options.recover if options.trellis is None else options.trellis)


def parse_levels(text: str | None, trellis: bool | None) -> tuple[str, ...]:
    """Levels to choose from; none where the plain default is meant."""
    levels = tuple(filter(None, (text or "").split(",")))
    if not trellis:
        return levels
    return tuple(dict.fromkeys(with_trellis(level) for level in levels or DEFAULT_LEVELS))


def to_config(options: argparse.Namespace) -> Config:
    """The configuration that the arguments describe. Raises UserError for what cannot be meant."""
    if options.max_bytes is not None or options.min_bytes is not None:
        check_bytes(options)
    elif not options.bin:
        raise UserError(f"--bin is missing: give {', '.join(BINS)}, all, or --max-bytes")
    if not options.lang:
        raise UserError(f"--lang is missing: give one of {', '.join(LANGUAGES)}")
    check_language(options.lang)
    bins = tuple(dict.fromkeys(options.bin or ()))
    for name in bins:
        if name not in BINS and name != "all":
            raise UserError(f"unknown bin '{name}': known are {', '.join(BINS)} and all")
    for flag, least in (("trials", 0), ("recover", 0), ("workers", 0), ("batch_size", 1), ("max_new_tokens", 1)):
        if getattr(options, flag) is not None and getattr(options, flag) < least:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(options, flag)}: at least {least}")
    if options.resume and not options.name:
        raise UserError("--resume needs the --name of the run to go on with")
    if options.threads < 0:
        raise UserError(f"--threads {options.threads}: at least 1, or 0 to share out the CPUs")
    check_gpus_per_worker(options.gpus_per_worker)
    if options.levels is not None and not parse_levels(options.levels, trellis=False):
        raise UserError(f"--levels '{options.levels}': name at least one, such as grid@2, or leave --levels away")
    levels = default_levels(options) if options.levels is None else parse_levels(options.levels, options.trellis)
    embedded = options.model == "embedded"
    data = options.data or ("embedded" if embedded else "")
    if not data:
        check_model_name(options.model)
        raise UserError(f"--data is missing: model {options.model} needs acl6060:DIR or manifest:FILE.csv")
    rungs = check_rungs(options.rungs, options.sampler)
    if options.score_drops and not options.drop:
        raise UserError("--score-drops and --no-drop: no layer may be dropped, so leave one of them out")
    check_groups(options.groups)
    check_regex(options.freeze)
    if options.condition not in CONDITIONS:
        raise UserError(f"unknown condition '{options.condition}': known are {', '.join(CONDITIONS)}")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Config(
        bins=bins,
        lang=options.lang,
        model=options.model,
        data=data,
        comet=options.comet or ("embedded" if data == "embedded" else "Unbabel/wmt22-comet-da"),
        trials=options.trials,
        sampler=options.sampler,
        rungs=rungs,
        sensitivities=options.sensitivities,
        condition=options.condition,
        freeze=options.freeze,
        groups=options.groups,
        max_bytes=options.max_bytes,
        min_bytes=options.min_bytes,
        store=options.store,
        seed=options.seed,
        baselines=embedded if options.baselines is None else options.baselines,
        score_drops=options.score_drops,
        levels=levels,
        vocabulary=vocabularies.parse(options.vocabulary, options.lang, options.vocabulary_texts),
        vocabulary_texts=options.vocabulary_texts,
        drop=options.drop,
        calibration=options.calibration,
        segments=options.segments if options.segments is not None else (64 if data == "embedded" else None),
        sense_segments=16 if data == "embedded" else 32,
        chat=is_chat(options.model),
        batch_size=options.batch_size or (64 if embedded else 32),
        max_new_tokens=options.max_new_tokens or (64 if embedded else 256),
        workers=options.workers,
        gpus_per_worker=-1.0 if options.gpus_per_worker is None else options.gpus_per_worker,
        threads=options.threads,
        address=options.address,
        runs=options.runs,
        name=check_name(options.name or f"{options.lang}-{'-'.join(bins) or options.max_bytes}-{stamp}"),
    )
