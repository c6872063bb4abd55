"""Exporting: builds the artifact of a row, verifies it in another process, and writes its provenance.

There is an artifact only if its bytes are exactly the row's, and its translations and scores are the row's within what
floating point explains.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import compress
from compress.artifact.recovered import RecoveredSource
from compress.cli import progress_line
from compress.errors import UserError
from compress.models import resolve_model
from results.candidate import SCORED, Candidate
from results.outside import confirmed, confirmed_store, confirmed_training
from results.runs import RECOVERED, RunView
from results.shipping import provenance
from results.shipping.agreement import check_agreement, check_checkpoint, compare_with_row, tolerances
from results.shipping.verify import VerifySettings, verify_in_process


def check_unused(out: Path) -> None:
    for path in (out, provenance.path_for(out)):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} exists already; give another --out or remove it")


def export(
    run: RunView,
    row: Candidate,
    out: Path,
    settings: VerifySettings,
    model: str | None = None,
    store: str | None = None,
    tolerance: float | None = None,
    train: str | None = None,
) -> None:
    """Builds and verifies the artifact of a row that has its translations, and prints a line on each.

    Leaves nothing if it is not as its row says.
    `tolerance`: mean COMET that may differ; None for what floating point explains. `train`: what a recovered row was
    trained on, where that is not what the search was on.
    """
    recovery = run.recovery(row)
    trained = ""
    if recovery is not None:
        named = str(provenance.about(recovery).get("train", "?"))
        trained = confirmed_training(run.path, named, settings.spec.data, train)
    nbytes = build(run, row, out, model, store)
    print(f"{out}: {nbytes:,} bytes, exactly those of candidate {row.candidate}", flush=True)
    try:
        verified = verify_in_process(settings)
        check_checkpoint(row, verified["comet"])
        agreement = compare_with_row(row, verified["hypotheses"], verified["comet_segments"])
        flipped, drift = tolerances(run.config, str(verified["dtype"]))
        check_agreement(agreement, flipped, drift if tolerance is None else tolerance)
        provenance.write(out, provenance.record(run, row, settings, agreement, verified, out, trained))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    print(
        f"loaded afresh in {verified['load_seconds']:.1f} s ({verified['device']}, {verified['dtype']}): COMET"
        f" {agreement.comet:.6f}, its row {agreement.row:.6f}; {agreement.differing} of {agreement.segments}"
        " translations differ"
    )


def build(run: RunView, row: Candidate, out: Path, model: str | None = None, store: str | None = None) -> int:
    """Packs the candidate and returns its bytes. Raises UserError, and leaves nothing, if they are not the row's."""
    if row.status != SCORED:
        raise UserError(f"candidate {row.candidate} is {row.status_word}: only a scored one can be exported")
    folder = confirmed_store(run.path, run.config, store)
    original = resolve_model(confirmed(run.config, "model", model), download=False)
    source = source_of(run, row, compress.Source.open(original))
    variants = compress.Store(folder) if folder else None
    nbytes = compress.pack(source, run.policy(row), variants, out, progress_line("weights written"))
    if nbytes != row.bytes:
        shutil.rmtree(out)
        raise UserError(f"the artifact has {nbytes:,} bytes, its row says {row.bytes:,}: it was removed")
    return nbytes


def source_of(run: RunView, row: Candidate, base: compress.Source) -> compress.Source:
    """The model; for a recovered candidate, the model with the tensors that training changed."""
    policy = run.policy(row)
    if policy.model == base.digest:
        return base
    recovery = run.recovery(row)
    if recovery is not None:
        return RecoveredSource.open_at(base, recovery)
    raise UserError(
        f"candidate {row.candidate} is of model {policy.model[:12]}, this one is {base.digest[:12]}, and there is no"
        f" recovery of it in {run.path / RECOVERED}: give the model of the run with --model"
    )
