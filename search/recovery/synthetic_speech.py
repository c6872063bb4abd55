"""Training speech for the embedded model, spoken by its recipe: `python -m search.recovery.speech --out DIR`.

Recovery in the unconstrained condition needs speech to train on, and the repository ships only dev and eval. The same
grammar, voices and seed go on after the talks that the model was trained on, so that what is held out of these tells
the truth: talks it has not heard, with no sentence of dev or eval. Opus, and a manifest that `manifest:` reads.
"""

from __future__ import annotations

import csv
import os
import random
import sys
from pathlib import Path

from compress.cli import Parser, progress_line, run
from compress.errors import UserError
from results.atomic_write import write_atomically

TALKS, MOST = 100, 2000
COLUMNS = ("id", "split", "talk", "audio_path", "source_en", "target_de", "target_zh")
MANIFEST = "segments.csv"


def speak(folder: Path, talks: int = TALKS, after: int = 0) -> Path:
    """Writes what is not there yet and returns the manifest; `after` so many talks that are left to others."""
    import soundfile

    from embedded.recipe import espeak, features, speech
    from embedded.recipe import talks as recipe

    try:
        espeak.require_espeak()
    except espeak.EspeakError as problem:
        raise UserError(str(problem)) from None
    if not 1 <= talks <= MOST:
        raise UserError(f"--talks {talks}: give 1 to {MOST}")
    heard = recipe.Sizes().train
    chosen = recipe.splits(speech.SEED, recipe.Sizes(train=heard + after + talks))["train"][heard + after :]
    (folder / "train").mkdir(parents=True, exist_ok=True)
    show = progress_line("talks")
    rows: list[tuple[str, ...]] = []
    for number, talk in enumerate(chosen):
        show(number, len(chosen))
        rng = random.Random(talk.name)
        for index, sentence in enumerate(talk.sentences):
            gain = rng.uniform(0.3, 0.9)
            name = f"{talk.name}-{index:02d}"
            path = folder / "train" / f"{name}.opus"
            if not path.exists():
                wave = espeak.synthesize(sentence.en, talk.voice, gain)
                if not espeak.RATE // 2 < len(wave) <= features.SECONDS * espeak.RATE:
                    continue
                beside = path.with_name(f".{path.name}.{os.getpid()}.part")
                how = {"format": "OGG", "subtype": "OPUS", "compression_level": speech.OPUS_LEVEL}
                soundfile.write(beside, wave, espeak.RATE, **how)
                beside.replace(path)
            rows.append((name, "train", talk.name, f"train/{name}.opus", sentence.en, sentence.de, sentence.zh))
    return _write(folder / MANIFEST, rows)


def _write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    import io

    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_atomically(path, stream.getvalue())
    return path


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m search.recovery.speech", description="Speak training speech for the embedded model."
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the speech and its segments.csv")
    parser.add_argument(
        "--talks", type=int, default=TALKS, help=f"talks of 16 sentences (default {TALKS}, at most {MOST})"
    )
    given = parser.parse_args(arguments)
    path = speak(given.out, given.talks)
    print(f"training speech: --train manifest:{path}")


if __name__ == "__main__":
    sys.exit(run(main))
