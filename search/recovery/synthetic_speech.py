"""Training speech for the embedded model, synthesised by its recipe with espeak-ng.

Recovery in the unconstrained condition needs speech to train on, and the repository ships only dev and eval. The same
grammar, voices and seed go on after the talks that the model was trained on, so the held-out loss is
unbiased: these talks are disjoint from train, dev and eval. Opus, and a manifest that `manifest:` reads.
"""

from __future__ import annotations

import csv
import io
import os
import random
from pathlib import Path

from compress.cli import progress_line
from compress.errors import UserError
from embedded.recipe import espeak, speech
from embedded.recipe import talks as recipe
from results.atomic_write import write_atomically

TALKS, MOST = 100, 2000
COLUMNS = ("id", "split", "talk", "audio_path", "source_en", "target_de", "target_zh")
MANIFEST = "segments.csv"


def speak(folder: Path, talks: int = TALKS, after: int = 0) -> Path:
    """Writes what is not there yet and returns the manifest; `after` so many talks that are left to others."""
    try:
        espeak.require_espeak()
    except espeak.EspeakError as problem:
        raise UserError(str(problem)) from None
    if not 1 <= talks <= MOST:
        raise UserError(f"--talks {talks}: give 1 to {MOST}")
    used = recipe.Sizes().train + after
    chosen = recipe.splits(speech.SEED, recipe.Sizes(train=used + talks))["train"][used:]
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
                if not speech.has_valid_length(wave):
                    continue
                beside = path.with_name(f".{path.name}.{os.getpid()}.part")
                speech.write_opus(beside, wave)
                beside.replace(path)
            rows.append((name, "train", talk.name, f"train/{name}.opus", sentence.en, sentence.de, sentence.zh))
    return _write(folder / MANIFEST, rows)


def _write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_atomically(path, stream.getvalue())
    return path
