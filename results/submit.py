"""Command line: an artifact's translations of the test set, in the names and the tree of the shared task.

python -m results.submit ART --data SPEC --lang en-de --team FBK --bin Bin1 --condition constrained --type primary
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compress.cli import Parser
from compress.errors import UserError
from compress.sizes import bins_of
from evaluate.data.types import DataSet
from evaluate.spec import EvalSpec
from results.atomic_write import write_atomically
from results.shipping import provenance as history
from results.shipping.declaration import declare
from results.shipping.submission import YEARS, check_bin, check_free, check_lines, planned, write
from results.shipping.verify import Settings


def main(arguments: list[str]) -> None:
    from compress.sizes import BINS
    from evaluate.data.conditions import CONDITIONS

    parser = Parser(
        prog="python -m results.submit",
        description="Translate the test set with an artifact and write the submission, with its declaration.",
    )
    parser.add_argument("artifact", type=Path, metavar="ART", help="an artifact of python -m results.export")
    parser.add_argument("--data", required=True, help="the test set, as python -m evaluate.translate takes it")
    parser.add_argument("--split", default="eval", help="split of the data (default eval)")
    parser.add_argument("--lang", required=True, metavar="PAIR")
    parser.add_argument("--team", required=True, help="short name of the registration form")
    parser.add_argument("--bin", default="", help=f"claimed: {', '.join(BINS)}; not needed with --year 2026")
    parser.add_argument("--condition", required=True, choices=CONDITIONS)
    parser.add_argument("--type", default="primary", help="primary, contrastive, contrastive1, … (default primary)")
    parser.add_argument("--year", choices=YEARS, default="both", help="whose names and tree (default both)")
    parser.add_argument("--hyp", type=Path, help="hypotheses made before, a line a segment, instead of translating")
    parser.add_argument("--out", type=Path, default=Path("submission"), help="folder (default submission/)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, help="default: that of the export")
    for name in ("institute", "contact", "email"):
        parser.add_argument(f"--{name}", default="", help="for the declaration")
    given = parser.parse_args(arguments)

    from compress import Artifact
    from evaluate.data.open import open_data

    wanted = planned(given.team, given.lang, given.bin, given.condition, given.type, given.year, given.out)
    opened = Artifact.open(given.artifact)
    if given.bin:
        check_bin(opened.nbytes, opened.manifest.original_bytes, given.bin)
    check_free(given.out, wanted)
    made = history.read(given.artifact)
    if made.get("policy") != opened.policy.digest or made.get("artifact_bytes") != opened.nbytes:
        raise UserError(f"{history.path_for(given.artifact)} is the history of another artifact: export this one again")
    data = open_data(given.data, given.split, given.lang)
    label = history.check_clean(made, data, given.condition)
    lines = check_lines(hypotheses(given, made, data), len(data.segments))
    told = declare(given.artifact, made, given.condition, vars(given))
    written = write(given.out, wanted, lines)
    form = given.out / f"{wanted.declaration}.txt"
    write_atomically(form, told.to_text())
    write_atomically(form.with_suffix(".json"), json.dumps(told.to_dict(), indent=1, ensure_ascii=False) + "\n")
    print(told.to_text())
    for each in made["tuned"]:
        if each.get("unchecked"):
            print(f"not checked for leaks: {each['purpose']} on {each['name']}, which was not at hand when exporting")
    if label != given.condition:
        print(f"condition: {label}")
    if bins_of(opened.manifest.original_bytes)[0][1] < BINS["Bin1"][0]:
        print("the bins are those of a small model, in proportion to its original bytes")
    print(f"{len(lines)} lines, in:")
    for path in (*written, form, form.with_suffix(".json")):
        print(f"  {path}")


def hypotheses(given: object, made: dict[str, object], data: DataSet) -> list[str]:
    """Those of --hyp, or the artifact's own."""
    from evaluate.data.text import read_lines
    from results.export import device
    from results.shipping.verify import translations

    options = vars(given)
    if options["hyp"] is not None:
        return read_lines(options["hyp"])
    spec = EvalSpec(
        data=options["data"],
        split=options["split"],
        lang=options["lang"],
        chat=bool(made.get("chat")),
        batch_size=options["batch_size"] or int(str(made.get("batch_size") or 8)),
        max_new_tokens=int(str(made.get("max_new_tokens") or 256)),
    )
    settings = Settings(str(options["artifact"]), spec, comet="", device=options["device"] or device())
    return list(translations(settings, data)[0].values())


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
