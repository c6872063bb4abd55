"""`python -m search.published moslem-a|moslem-b|wmt25|diet`: the published systems, each as one command.

Fine-tuning, pruning, compression, training after it, the artifact and its score, in one folder. Every step that is
finished is kept, so the command may be killed and given again. docs/recipes.md tells what was published.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from compress.cli import Parser, run
from compress.errors import UserError
from compress.recovery.settings import parse_settings
from search.recovery.data import check_share
from search.recovery.methods import method
from search.recovery.synthetic_speech import speak
from search.recovery.systems import SYSTEMS, SystemBuild, refuse_kind

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parser() -> Parser:
    systems = "; ".join(f"{s.name}: {s.about}" for s in SYSTEMS.values())
    p = Parser(
        prog="python -m search.published",
        description="A published system, from the model to its artifact.",
        epilog=systems,
    )
    p.add_argument("system", metavar="SYSTEM", help=", ".join(SYSTEMS))
    p.add_argument("--model", default="embedded", help="embedded (default), a folder, or a hub name")
    p.add_argument("--fine-tuned", action="store_true", help="--model is fine-tuned already (so is the embedded one)")
    p.add_argument("--lang", required=True, metavar="PAIR", help="en-de, en-zh; wmt25 any pair its data has")
    p.add_argument("--train", help="data to train on (default: embedded speech)")
    p.add_argument("--train-split", default="train", help="its split (default train)")
    p.add_argument("--data", default="embedded", help="data to score on (default embedded)")
    p.add_argument("--split", default="dev", help="dev (default), or eval to report")
    p.add_argument("--condition", default="unconstrained", help="constrained: ACL 60/60 dev alone")
    p.add_argument("--held-out", type=float, default=0.15, help="share held out, in whole talks (default 0.15)")
    p.add_argument("--comet", help="embedded, a checkpoint, or a hub name")
    p.add_argument("--drop", type=int, help="layers to prune (default: the published share)")
    p.add_argument(
        "--method", help="training after compression, as in search.recover (default: the published one; or none)"
    )
    p.add_argument("--heal-every", type=int, default=0, help="train after every N pruned layers (default 0: never)")
    p.add_argument(
        "--prune-segments", type=int, default=100, help="held-out segments that pruning goes by (default 100)"
    )
    p.add_argument("--train-batch", type=int, help="segments trained at once (default 4; embedded 16)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a training setting, e.g. epochs=1")
    p.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    p.add_argument("--out", type=Path, required=True, help="folder of everything; the artifact is OUT/artifact")
    return p


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.system not in SYSTEMS:
        raise UserError(f"unknown system '{options.system}': known are {', '.join(SYSTEMS)}")
    settings = parse_settings(options.set)
    check_share(options.held_out)
    if options.train_batch is not None and options.train_batch < 1:
        raise UserError(f"--train-batch {options.train_batch}: at least 1")
    system = SYSTEMS[options.system]
    if options.method:
        system = replace(system, method="" if options.method == "none" else method(options.method).name)
    if options.train is None:
        if options.data != "embedded":
            raise UserError("--train is missing: name the data to train on, such as acl6060:DIR with --train-split dev")
        refuse_kind(system, text=False)
        if not options.out.exists():  # before minutes of speaking
            SystemBuild(system, options, settings).refuse_missing()
        options.train = f"manifest:{speak(options.out / 'speech').resolve()}"
    if options.data == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    result = SystemBuild(system, options, settings).run()
    print(
        f"{options.system}: {result['bytes']:,} bytes, COMET {result['comet']:.4f}, chrF {result['chrf']:.1f}"
        f" on {result['segments']} segments of {options.data} {options.split}\nartifact: {options.out / 'artifact'}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
