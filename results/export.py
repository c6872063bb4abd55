"""Command line: the artifact of a row, verified in another process.

python -m results.export RUN --candidate ID|--select RULE --out ART [--card] [--push OWNER/NAME]
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.runs import RunView
from results.selection import RULES, select
from results.shipping.build import check_unused, export
from results.shipping.card import check_base_model, write_card
from results.shipping.card import path_for as card_path
from results.shipping.hub import check_repository, push
from results.shipping.verify import VerifySettings

HOW_TO_USE = """
To use it:
  python -m compress.inspect {art}
  python -m evaluate.translate --model {art} {data} -o hyp.txt
  python -m evaluate.score --hyp hyp.txt {data}
  python -m results.submit {art} {data} --team TEAM --bin BIN --condition constrained --type primary
In Python:
  model, processor = compress.load({quoted})
Keep {art.name}.export.json beside it: submit reads there what it was tuned on."""


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.export",
        description="Build the artifact of a candidate, and verify its bytes and its COMET in a fresh process.",
        epilog=f"rules: {', '.join(RULES)}",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--candidate", metavar="ID")
    which.add_argument("--select", metavar="RULE", help="as in python -m results.select")
    parser.add_argument("--bin", help="with --select: among the candidates of this bin")
    parser.add_argument("--out", required=True, type=Path, metavar="ART", help="folder of the artifact; must not exist")
    parser.add_argument("--model", help="the original model, where it is not embedded: what a run names is not obeyed")
    parser.add_argument("--store", help="folder or URL of the variants (default: .store beside the run)")
    parser.add_argument("--comet", help="the COMET checkpoint of the run, where it is not a default one")
    parser.add_argument("--data", help="the run's data, where it is not embedded")
    parser.add_argument("--train", help="what a recovered candidate was trained on, where it is not the run's data")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, help="default: that of the run")
    parser.add_argument("--tolerance", type=float, help="COMET that may differ (default: what floating point explains)")
    parser.add_argument("--card", action="store_true", help="write a Hugging Face model card too, ART.card.md")
    parser.add_argument("--license", metavar="ID", help="of the card, as the hub names it: that of the original model")
    parser.add_argument("--base-model", metavar="OWNER/NAME", help="of the card, where the run names a folder")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload artifact and card to the Hugging Face hub")
    parser.add_argument("--private", action="store_true", help="with --push: a repository that only its owners see")
    options = parser.parse_args(arguments)

    if options.private and not options.push:
        parser.error("--private goes with --push")
    check_base_model(options.base_model)
    if options.push:
        check_repository(options.push, options.private)
    run = RunView.open(options.run)
    check_unused(options.out)
    if (options.card or options.push) and card_path(options.out).exists():
        raise UserError(f"{card_path(options.out)} exists already; give another --out or remove it")
    if options.candidate:
        name = run.find(options.candidate).candidate
    else:
        selection = select(run, options.select, options.bin)
        name = selection.candidate.candidate
        print(f"{selection.rule}: {name}: {selection.why}")
    row = run.with_texts([name])[name]
    settings = VerifySettings.of(
        run.config, options.out, options.data, options.comet, options.device, options.batch_size
    )
    export(run, row, options.out, settings, options.model, options.store, options.tolerance, options.train)
    if options.card or options.push:
        name = options.push or options.out.name
        written = write_card(options.out, row, run.original, name, options.license, options.base_model)
        print(f"card: {written}")
    if options.push:
        print(f"uploaded: {push(options.out, options.push, options.private)}")
    data = f"--data {settings.spec.data} --lang {settings.spec.lang}"
    print(HOW_TO_USE.format(art=options.out, quoted=repr(str(options.out)), data=data))


if __name__ == "__main__":
    sys.exit(run_command(main))
