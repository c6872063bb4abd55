"""`python -m embedded.recipe`: makes the embedded model, speech and COMET again, stage by stage.

Every stage saves its state under --work and continues from it, so an interrupted command can simply be run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import embedded
from embedded.recipe import espeak

STAGES = ("speech", "encoder", "joint", "comet")


def run(stage: str, work: Path, out: Path) -> None:
    """Runs one stage."""
    # heavy optional libraries (torch, transformers, comet): --help and the check for espeak-ng do without them
    from embedded.recipe import speech, train_comet, train_encoder, train_translation

    if stage == "speech":
        speech.run(work, out / "speech")
    elif stage == "encoder":
        train_encoder.run(work, out / "speech")
    elif stage == "joint":
        train_translation.run(work, out / "speech", out / "model")
    else:
        train_comet.run(work, out / "model", out / "comet")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m embedded.recipe", description=__doc__)
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    work = "features and checkpoints (default: %(default)s)"
    parser.add_argument("--work", type=Path, default=Path("build/embedded"), help=work)
    out = "where speech/, model/ and comet/ are written (default: the package itself)"
    parser.add_argument("--out", type=Path, default=Path(embedded.__file__).parent, help=out)
    options = parser.parse_args(arguments)
    try:
        if options.stage in {"all", "speech", "encoder", "joint"}:
            espeak.require_espeak()
        for stage in STAGES if options.stage == "all" else (options.stage,):
            run(stage, options.work, options.out)
    except (espeak.EspeakError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
