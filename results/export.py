"""Command line: the artifact of a row, checked in another process.

python -m results.export RUN --candidate ID|--select RULE --out ART
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from compress.artifact.recovered import JSON
from compress.cli import Parser
from compress.errors import UserError
from results.candidate import Candidate
from results.runs import Run, read_json
from results.select import select
from results.selection import RULES
from results.shipping import provenance as history
from results.shipping.build import (
    Agreement,
    agreement,
    build,
    check_agreement,
    check_checkpoint,
    comet_at,
    fresh,
    limits,
)
from results.shipping.verify import Settings


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.export",
        description="Build the artifact of a candidate, and check its bytes and its COMET in a fresh process.",
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
    given = parser.parse_args(arguments)

    run = Run.open(given.run)
    check_free(given.out)
    chosen = run.find(given.candidate) if given.candidate else None
    if chosen is None:
        choice = select(run, given.select, given.bin)
        print(f"{choice.rule}: {choice.candidate.candidate}: {choice.why}")
        chosen = choice.candidate
    row = run.full([chosen.candidate])[chosen.candidate]
    config = run.config | ({"data": given.data} if given.data else {})
    settings = Settings.of(config, given.out, comet_at(run, given.comet), given.device or device(), given.batch_size)
    size = build(run, row, given.out, given.model, given.store)
    print(f"{given.out}: {size:,} bytes, exactly those of candidate {row.candidate}", flush=True)
    try:
        found = fresh(settings)
        check_checkpoint(row, found["comet"])
        agreed = agreement(row, found["hypotheses"], found["comet_segments"])
        flipped, drift = limits(run.config, str(found["dtype"]))
        check_agreement(agreed, flipped, drift if given.tolerance is None else given.tolerance)
        write_history(run, row, settings, agreed, found, given.out)
    except BaseException:
        shutil.rmtree(given.out, ignore_errors=True)
        raise
    print(
        f"loaded afresh in {found['load_seconds']:.1f} s ({found['device']}, {found['dtype']}): COMET"
        f" {agreed.comet:.6f}, its row {agreed.row:.6f}; {agreed.differing} of {agreed.segments} translations differ"
    )
    print(commands(given.out, settings))


def check_free(out: Path) -> None:
    for path in (out, history.path_for(out)):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} exists already; give another --out or remove it")


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def write_history(
    run: Run, row: Candidate, settings: Settings, agreed: Agreement, found: dict[str, object], out: Path
) -> Path:
    """ART.export.json: where the artifact comes from and all it was tuned on."""
    from compress import Artifact

    spec = settings.spec
    data = spec.open_data()
    policy = Artifact.open(out).policy
    condition = run.config.get("condition", "")
    tuned = [history.fingerprint("search", spec.data, data)]
    if policy.calibration:
        tuned.append({**tuned[0], "purpose": "calibration"})
    place = run.recovery(row)
    if place is not None:
        tuned.append(history.trained_on(place, spec.lang))
        condition = trained_under(place) or condition
    record = {
        "artifact_bytes": row.bytes,
        "policy": policy.digest,
        "model": str(run.config.get("model", "")),
        "run": run.name,
        "candidate": row.candidate,
        "recipe": row.recipe,
        "parent": row.parent,
        "chat": spec.chat,
        "max_new_tokens": spec.max_new_tokens,
        "batch_size": spec.batch_size,
        "condition": condition,
        "scores": {"row": {"comet": row.comet, "signature": row.signature}, "afresh": asdict(agreed)},
        "tuned": tuned,
        "seconds_per_segment": found["seconds_per_segment"],
        "parameters_in_memory": found["model_parameters"],
    }
    return history.write(out, record)


def trained_under(recovery: Path) -> str:
    """The data condition of the training: that of what came of it, whatever the search before it was under."""
    about = read_json(recovery / JSON, "the recovery").get("about")
    return str(about.get("condition") or "") if isinstance(about, dict) else ""


def commands(out: Path, settings: Settings) -> str:
    art, where = out, f"--data {settings.spec.data} --lang {settings.spec.lang}"
    lines = [
        "",
        "To use it:",
        f"  python -m compress.inspect {art}",
        f"  python -m evaluate.translate --model {art} {where} -o hyp.txt",
        f"  python -m evaluate.score --hyp hyp.txt {where}",
        f"  python -m results.submit {art} {where} --team TEAM --bin BIN --condition constrained --type primary",
        "In Python:",
        f"  model, processor = compress.load({str(art)!r})",
        f"Keep {history.path_for(art).name} beside it: submit reads there what it was tuned on.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
