"""Command line: an artifact's translations of the test set, in the names and the tree of the shared task.

python -m results.submit ART --data SPEC --lang en-de --team FBK --bin Bin1 --condition constrained --type primary
python -m results.submit ART --wmt26 --lang cs-de --team FBK --condition constrained
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.cli import Parser
from compress.cli import run as run_command
from compress.sizes import BINS
from evaluate.data.conditions import CONDITIONS
from results.shipping.submission import YEARS, plan_submission, submit
from results.shipping.wmt import write_folder


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.submit",
        description="Translate the test set with an artifact and write the submission, with its declaration.",
    )
    parser.add_argument("artifact", type=Path, metavar="ART", help="an artifact of python -m results.export")
    parser.add_argument("--data", help="the test set, as python -m evaluate.translate takes it")
    parser.add_argument("--split", default="eval", help="split of the data (default eval)")
    parser.add_argument(
        "--lang", required=True, metavar="PAIR", help="en-de; with --wmt26 any, such as cs-de or ces-deu"
    )
    parser.add_argument("--team", required=True, help="short name of the registration form")
    parser.add_argument("--bin", default="", help=f"claimed: {', '.join(BINS)}; not needed with --year 2026")
    parser.add_argument("--condition", required=True, choices=CONDITIONS)
    parser.add_argument("--type", default="primary", help="primary, contrastive, contrastive1, … (default primary)")
    parser.add_argument("--year", choices=YEARS, default="both", help="whose names and tree (default both)")
    parser.add_argument("--hyp", type=Path, help="a file of hypotheses, a line a segment, instead of translating")
    parser.add_argument("--out", type=Path, default=Path("submission"), help="folder (default submission/)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, help="default: that of the export")
    parser.add_argument(
        "--wmt26",
        action="store_true",
        help="write the folder that WMT's organisers run instead (setup.sh, run.sh, README): for text, without --data",
    )
    for name in ("institute", "contact", "email"):
        parser.add_argument(f"--{name}", default="", help="for the declaration")
    options = parser.parse_args(arguments)

    if options.wmt26 and (unused := [name for name in ("data", "bin", "hyp") if getattr(options, name)]):
        parser.error(f"--{unused[0]} has no meaning with --wmt26: leave it away")
    if options.wmt26:
        folder = write_folder(options.artifact, options.out, options.team, options.lang, options.condition)
        print(f"{folder}: try it with `bash setup.sh`, then `bash run.sh --lang-pair {options.lang} ...`")
        return
    if options.data is None:
        parser.error("--data is missing: name the test set")
    submission = plan_submission(
        options.team, options.lang, options.bin, options.condition, options.type, options.year, options.out
    )
    report = submit(
        options.artifact,
        submission,
        options.data,
        options.split,
        options.out,
        vars(options),
        options.hyp,
        options.device,
        options.batch_size,
    )
    print("\n".join(report))


if __name__ == "__main__":
    sys.exit(run_command(main))
