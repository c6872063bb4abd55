"""Command line: the artifact of a row, verified in another process.

python -m results.export RUN --candidate ID|--select RULE --out ART
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from results.runs import RunView
from results.selection import RULES, select
from results.shipping import provenance
from results.shipping.build import check_unused, comet_at, default_device, export
from results.shipping.verify import VerifySettings


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
    parser.add_argument("--model", help="folder of the original model, if it is not where the run had it")
    parser.add_argument("--store", help="folder of the variants (default: .store beside the run, as search.run has it)")
    parser.add_argument("--comet", help="the COMET checkpoint of the run, if it is not where the run had it")
    parser.add_argument("--data", help="the run's data, if it is not where the run had it")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, help="default: that of the run")
    parser.add_argument("--tolerance", type=float, help="COMET that may differ (default: what floating point explains)")
    options = parser.parse_args(arguments)

    run = RunView.open(options.run)
    check_unused(options.out)
    if options.candidate:
        name = run.find(options.candidate).candidate
    else:
        selection = select(run, options.select, options.bin)
        name = selection.candidate.candidate
        print(f"{selection.rule}: {name}: {selection.why}")
    row = run.with_texts([name])[name]
    config = run.config | ({"data": options.data} if options.data else {})
    comet, device = comet_at(run, options.comet), options.device or default_device()
    settings = VerifySettings.of(config, options.out, comet, device, options.batch_size)
    say = partial(print, flush=True)
    export(run, row, options.out, settings, options.model, options.store, options.tolerance, say)
    print(next_commands(options.out, settings))


def next_commands(artifact: Path, settings: VerifySettings) -> str:
    """The commands that use the artifact."""
    data = f"--data {settings.spec.data} --lang {settings.spec.lang}"
    lines = [
        "",
        "To use it:",
        f"  python -m compress.inspect {artifact}",
        f"  python -m evaluate.translate --model {artifact} {data} -o hyp.txt",
        f"  python -m evaluate.score --hyp hyp.txt {data}",
        f"  python -m results.submit {artifact} {data} --team TEAM --bin BIN --condition constrained --type primary",
        "In Python:",
        f"  model, processor = compress.load({str(artifact)!r})",
        f"Keep {provenance.path_for(artifact).name} beside it: submit reads there what it was tuned on.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
