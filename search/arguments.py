"""The command line of `python -m search.run`."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime

from compress.bins import BINS
from compress.errors import Refusal
from evaluate.batches import is_chat
from evaluate.dataset import LANGUAGES, check_language
from search.config import Config, check_name
from search.stock import NAMES

EXAMPLES = """examples:
  python -m search.run --bin Bin2 --lang en-zh
  python -m search.run --bin Bin1 --bin Bin2 --lang en-de --trials 200 --name mine
  python -m search.run --bin Bin1 --bin Bin2 --lang en-de --trials 400 --name mine --resume
  python -m search.run --bin Bin2 --lang en-zh --model Qwen/Qwen2-Audio-7B-Instruct --data acl6060:/data/acl6060 \\
      --comet Unbabel/wmt22-comet-da --gpus-per-worker 1 --address auto
  python -m search.run --doctor
"""


class Parser(argparse.ArgumentParser):
    """Usage errors in the form of every other user mistake: one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


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
    p.add_argument("--trials", type=int, default=48, help="candidates asked of the sampler (default 48)")
    p.add_argument("--workers", type=int, default=0, help="workers at once (default: as many as there is room for)")
    p.add_argument("--gpus-per-worker", type=float, default=None, help="default 1 where there are GPUs, else 0")
    p.add_argument("--sampler", default="house", help=f"{', '.join(NAMES)} (default house)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--levels", help="comma-separated levels to choose from (default: a ladder from raw to grid@1)")
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
    p.add_argument("--runs", default="runs", metavar="DIR", help="folder of the runs (default runs/)")
    p.add_argument("--name", help="name of the run (default: language, bins and time)")
    p.add_argument("--resume", action="store_true", help="go on with the run of that --name")
    p.add_argument("--address", help="address of a running Ray cluster, or auto (default: start Ray on this machine)")
    p.add_argument("--doctor", action="store_true", help="check versions, GPUs, Ray, COMET, model and disk, then stop")
    return p


def to_config(options: argparse.Namespace) -> Config:
    """Refuses in one line what cannot be meant."""
    if not options.bin:
        raise Refusal(f"--bin is missing: give {', '.join(BINS)} or all")
    if not options.lang:
        raise Refusal(f"--lang is missing: give one of {', '.join(LANGUAGES)}")
    check_language(options.lang)
    bins = tuple(dict.fromkeys(options.bin))
    for name in bins:
        if name not in BINS and name != "all":
            raise Refusal(f"unknown bin '{name}': known are {', '.join(BINS)} and all")
    if options.sampler not in NAMES:
        raise Refusal(f"unknown sampler '{options.sampler}': known are {', '.join(NAMES)}")
    for flag, least in (("trials", 0), ("workers", 0), ("batch_size", 1), ("max_new_tokens", 1)):
        if getattr(options, flag) is not None and getattr(options, flag) < least:
            raise Refusal(f"--{flag.replace('_', '-')} {getattr(options, flag)}: at least {least}")
    if options.resume and not options.name:
        raise Refusal("--resume needs the --name of the run to go on with")
    if options.gpus_per_worker is not None and options.gpus_per_worker < 0:
        raise Refusal(f"--gpus-per-worker {options.gpus_per_worker}: at least 0")
    embedded = options.model == "embedded"
    data = options.data or ("embedded" if embedded else "")
    if not data:
        raise Refusal(f"--data is missing: model {options.model} needs acl6060:DIR or manifest:FILE.csv")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Config(
        bins=bins,
        lang=options.lang,
        model=options.model,
        data=data,
        comet=options.comet or ("embedded" if data == "embedded" else "Unbabel/wmt22-comet-da"),
        trials=options.trials,
        sampler=options.sampler,
        seed=options.seed,
        baselines=embedded if options.baselines is None else options.baselines,
        levels=tuple(filter(None, (options.levels or "").split(","))),
        drop=options.drop,
        calibration=options.calibration,
        segments=options.segments if options.segments is not None else (64 if data == "embedded" else None),
        sense_segments=16 if data == "embedded" else 32,
        chat=is_chat(options.model),
        batch_size=options.batch_size or (64 if embedded else 32),
        max_new_tokens=options.max_new_tokens or (64 if embedded else 256),
        workers=options.workers,
        gpus_per_worker=-1.0 if options.gpus_per_worker is None else options.gpus_per_worker,
        address=options.address,
        runs=options.runs,
        name=check_name(options.name or f"{options.lang}-{'-'.join(bins)}-{stamp}"),
    )
