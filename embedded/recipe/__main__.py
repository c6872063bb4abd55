"""`python -m embedded.recipe`: makes the embedded trio again, stage by stage, from nothing but espeak-ng.

Every stage keeps its state under --work and goes on from it, so the command may be killed and given again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import embedded
from embedded.recipe import voices

STAGES = ("speech", "encoder", "joint", "comet")


def run(stage: str, work: Path, out: Path) -> None:
    """Runs one stage; the imports are here because each takes seconds and a missing espeak-ng should not wait."""
    if stage == "speech":
        from embedded.recipe import speech

        speech.run(work, out / "speech")
    elif stage == "encoder":
        from embedded.recipe import listening

        listening.run(work, out / "speech")
    elif stage == "joint":
        from embedded.recipe import translating

        translating.run(work, out / "speech", out / "model")
    else:
        from embedded.recipe import judging

        judging.run(work, out / "model", out / "comet")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m embedded.recipe", description=__doc__)
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    work = "features and checkpoints (default: %(default)s)"
    parser.add_argument("--work", type=Path, default=Path("build/embedded"), help=work)
    out = "where speech/, model/ and comet/ go (default: the package itself)"
    parser.add_argument("--out", type=Path, default=Path(embedded.__file__).parent, help=out)
    given = parser.parse_args(arguments)
    try:
        if given.stage in {"all", "speech", "encoder", "joint"}:
            voices.require_espeak()
        for stage in STAGES if given.stage == "all" else (given.stage,):
            run(stage, given.work, given.out)
    except (voices.NoSpeech, FileNotFoundError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
