"""A row becomes an artifact, and the artifact must be what the row says: its bytes, its translations, its score."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import UserError
from compress.models import resolve_model
from results.candidate import SCORED, Candidate
from results.compatibility import parts_of
from results.runs import RECOVERED, Run
from results.shipping.verify import Settings

ROOT = Path(__file__).resolve().parents[2]
EXACT = 1e-4  # COMET of the same texts scored in another batch; on a CPU it moves by 1e-7
# Share of the segments in which floating point may turn a near tie of two tokens, and mean COMET that this may move.
# Measured on five candidates, four in bfloat16 (COMET .28 to .97), at batches 1, 8 and 64 against 64: in float32 none
# of 64 translations differed; in bfloat16 up to 12 did, and moved the mean by up to .008.
IN_FLOAT32, IN_HALF = (0.02, 0.001), (0.25, 0.01)


@dataclass(frozen=True)
class Agreement:
    """What the artifact scored against what its row says."""

    comet: float
    row: float
    differing: int  # segments whose translation is another one
    segments: int
    same_texts_drift: float  # greatest difference of COMET over segments with the same translation

    @property
    def difference(self) -> float:
        return self.comet - self.row


def agreement(row: Candidate, hypotheses: Sequence[str], scores: Sequence[float]) -> Agreement:
    """Segment by segment. Refuses another number of segments."""
    if not row.comet_segments or len(row.comet_segments) != len(scores):
        raise UserError(
            f"candidate {row.candidate} was scored on {len(row.comet_segments)} segments, the artifact on"
            f" {len(scores)}: this is not the data of the run"
        )
    pairs = list(zip(row.hypotheses, hypotheses, row.comet_segments, scores, strict=True))
    same = [abs(then - now) for before, after, then, now in pairs if before == after]
    mean = sum(scores) / len(scores)
    return Agreement(mean, row.comet, sum(a != b for a, b, _, _ in pairs), len(pairs), max(same, default=0.0))


def limits(config: dict[str, Any], dtype: str) -> tuple[float, float]:
    """What floating point explains: much less where both the run and the artifact computed in float32."""
    on_gpu = str(config.get("device", "cpu")) != "cpu" or float(config.get("gpus_per_worker") or 0) > 0
    return IN_HALF if on_gpu or dtype != "float32" else IN_FLOAT32


def check_agreement(found: Agreement, flipped: float, drift: float) -> None:
    """Refuses a difference that floating point on another batch size or device does not explain."""
    texts = f"{found.differing} of {found.segments} translations differ"
    told = f"COMET {found.comet:.6f}, its row says {found.row:.6f}; {texts}"
    if found.same_texts_drift > EXACT:
        raise UserError(
            f"the artifact is not scored as its row was: the same text by {found.same_texts_drift:.6f}; {told}"
        )
    if abs(found.difference) > drift or found.differing > max(1, flipped * found.segments):
        raise UserError(
            f"the artifact does not do what its row says: {told}; floating point on another batch size or device"
            f" explains {drift:g} COMET and {flipped:.0%} of the translations (--tolerance allows more COMET)"
        )


def build(run: Run, row: Candidate, out: Path, model: str | None = None, store: str | None = None) -> int:
    """Packs the candidate and returns its bytes. Refuses, and leaves nothing, if they are not the row's."""
    import compress
    from compress.cli import progress_line

    if row.status != SCORED:
        raise UserError(f"candidate {row.candidate} was {row.status}: only a scored one can be exported")
    folder = resolve_model(model or str(run.config.get("model", "")), download=False)
    source = source_of(run, row, compress.Source.open(folder))
    kept = store or default_store(run)
    packed = compress.pack(
        source, run.policy(row), compress.Store(kept) if kept else None, out, progress_line("units written")
    )
    if packed != row.bytes:
        shutil.rmtree(out)
        raise UserError(f"the artifact has {packed:,} bytes, its row says {row.bytes:,}: it was removed")
    return packed


def source_of(run: Run, row: Candidate, base: Any) -> Any:
    """The model, or, for a recovered candidate, the model with what training changed laid over it."""
    policy = run.policy(row)
    if policy.model == base.digest:
        return base
    from compress.artifact.recovered import RecoveredSource

    place = run.recovery(row)
    if place is not None:
        return RecoveredSource.open_at(base, place)
    raise UserError(
        f"candidate {row.candidate} is of model {policy.model[:12]}, this one is {base.digest[:12]}, and there is no"
        f" recovery of it in {run.path / RECOVERED}: give the model of the run with --model"
    )


def default_store(run: Run) -> str | None:
    """Where the run had it: as it was told, or beside the run."""
    if run.config.get("store"):
        return str(run.config["store"])
    place = run.path.resolve().parent / ".store"
    return str(place) if place.is_dir() else None


def comet_at(run: Run, asked: str | None) -> str:
    """The checkpoint the run was scored by."""
    name = asked or str(run.config.get("comet", ""))
    if name == "embedded":
        import embedded

        return str(embedded.COMET)
    return name


def fresh(settings: Settings) -> dict[str, Any]:
    """Loads, translates and scores the artifact in another process."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "results.shipping.verify", str(out)],
            input=settings.to_json(),
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "TOKENIZERS_PARALLELISM": "false"},
            check=False,
        )
        if done.returncode != 0 or not out.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise UserError(f"the artifact could not be used afresh: {lines[-1] if lines else 'no output'}"[:500])
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def check_checkpoint(row: Candidate, identity: dict[str, str]) -> None:
    """Refuses another COMET than the row's: their scores are not comparable."""
    signed = parts_of(row.signature)
    for name, found in (("digest", identity["digest"]), ("comet", identity["version"])):
        if signed.get(name, found) != found:
            raise UserError(
                f"this COMET is not the one of the row ({name} {found}, there {signed[name]}): give it with --comet"
            )
