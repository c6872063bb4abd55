"""Noise with references, as a manifest of whole talks: what the tests of recovery train a tiny model on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SENTENCES = ("Die Daten sind klein.", "Das Modell übersetzt.", "Das Netz ist groß.", "Die Sprache ist sauber.")


def manifest(folder: Path, talks: int = 4, split: str = "train", name: str = "segments.csv") -> str:
    """The spec of a manifest with `talks` talks of two segments each."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(split))
    rows = []
    for talk in range(talks):
        for number in range(2):
            path = f"{split}-{talk}-{number}.wav"
            soundfile.write(folder / path, rng.standard_normal(12_000).astype("float32") * 0.1, 16_000)
            text = SENTENCES[(2 * talk + number) % len(SENTENCES)]
            rows.append(
                (path[:-4], split, f"{split}-{talk}", path, f"sentence {talk} {number} of {split} said", text, text)
            )
    with (folder / name).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "split", "talk", "audio_path", "source_en", "target_de", "target_zh"))
        writer.writerows(rows)
    return f"manifest:{folder / name}"
