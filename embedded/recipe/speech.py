"""Stage `speech`: synthesizes the talks, and reads them. Dev and eval are shipped as Opus, train is kept as features.

Each part of the training set is one file, replaced in one step, so an interrupted run continues where it was.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile

from embedded.recipe import espeak, features
from embedded.recipe.talks import Talk, Voice, count_words, splits

SEED = 1
TALKS_PER_PART = 40
OPUS_LEVEL = 0.9  # of libsndfile's compression scale; 0.99 makes the speech unintelligible
COLUMNS = ("id", "split", "talk", "audio_path", "seconds", "speaker", "source_en", "target_de", "target_zh")


@dataclass(frozen=True)
class Utterances:
    """Utterances of one split: their features, back to back in one array, and texts."""

    mel: np.ndarray  # [frames of all, mels] float16
    ends: np.ndarray  # utterance i is mel[ends[i]:ends[i + 1]]
    en: tuple[str, ...]
    de: tuple[str, ...]
    zh: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.en)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.mel[self.ends[index] : self.ends[index + 1]]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = {name: np.array(getattr(self, name)) for name in ("en", "de", "zh")}
        with open(path.with_suffix(".part"), "wb") as file:
            np.savez(file, mel=self.mel, ends=self.ends, **texts)
        os.replace(path.with_suffix(".part"), path)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Utterances:
        parts = [np.load(p, allow_pickle=False) for p in paths]
        mels = [p["mel"] for p in parts]
        lengths = np.concatenate([np.diff(p["ends"]) for p in parts])
        texts = [tuple(str(t) for p in parts for t in p[name]) for name in ("en", "de", "zh")]
        return cls(np.concatenate(mels), np.concatenate([[0], np.cumsum(lengths)]), *texts)

    @classmethod
    def of(cls, mels: list[np.ndarray], texts: list[tuple[str, str, str]]) -> Utterances:
        ends = np.cumsum([0] + [len(m) for m in mels])
        en, de, zh = zip(*texts, strict=True)
        return cls(np.concatenate(mels), ends, en, de, zh)


def _synthesize(job: tuple[str, Voice, float]) -> np.ndarray:
    return espeak.synthesize(*job)


def _synthesize_talks(talks: list[Talk], workers: int) -> list[list[np.ndarray]]:
    jobs = []
    for talk in talks:
        rng = random.Random(talk.name)
        jobs += [(s.en, talk.voice, rng.uniform(0.3, 0.9)) for s in talk.sentences]
    with Pool(workers) as pool:
        waves = iter(pool.map(_synthesize, jobs, chunksize=16))
    return [[next(waves) for _ in talk.sentences] for talk in talks]


def has_valid_length(wave: np.ndarray) -> bool:
    """Longer than half a second, and within the feature window."""
    return espeak.RATE // 2 < len(wave) <= features.SECONDS * espeak.RATE


def write_opus(path: Path, wave: np.ndarray) -> None:
    soundfile.write(path, wave, espeak.RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL)


def write_shipped(talks: dict[str, list[Talk]], folder: Path, workers: int) -> None:
    """Writes dev and eval as Opus, with segments.csv."""
    rows = []
    for split in ("dev", "eval"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for talk, waves in zip(talks[split], _synthesize_talks(talks[split], workers), strict=True):
            for index, (sentence, wave) in enumerate(zip(talk.sentences, waves, strict=True)):
                if not has_valid_length(wave):
                    continue
                name = f"{talk.name}-{index:02d}"
                path = f"{split}/{name}.opus"
                write_opus(folder / path, wave)
                voice = f"{talk.voice.name} {talk.voice.speed} {talk.voice.pitch}"
                seconds = f"{len(wave) / espeak.RATE:.2f}"
                rows.append((name, split, talk.name, path, seconds, voice, sentence.en, sentence.de, sentence.zh))
    with open(folder / "segments.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read_shipped(folder: Path, split: str) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """The rows of segments.csv and the 16 kHz waves of dev or eval."""
    with open(folder / "segments.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return rows, [soundfile.read(folder / row["audio_path"], dtype="float32")[0] for row in rows]


def train_parts(work: Path) -> list[Path]:
    parts = sorted((work / "speech").glob("train-*.npz"))
    if not parts:
        raise FileNotFoundError(f"there is no training speech under {work}: run --stage speech first")
    return parts


def run(work: Path, speech_folder: Path, workers: int = 2) -> None:
    espeak.require_espeak()
    talks = splits(SEED)
    words = [count_words(s.en) for t in talks["train"] for s in t.sentences]
    print(f"speech: {len(words)} training sentences of {np.mean(words):.1f} words on average", flush=True)
    if not (speech_folder / "segments.csv").exists():
        write_shipped(talks, speech_folder, workers)
    extractor = features.extractor()
    train = talks["train"]
    for part, start in enumerate(range(0, len(train), TALKS_PER_PART)):
        path = work / "speech" / f"train-{part:03d}.npz"
        if path.exists():
            continue
        talks_of_part = train[start : start + TALKS_PER_PART]
        pairs = [
            (wave, (s.en, s.de, s.zh))
            for talk, waves in zip(talks_of_part, _synthesize_talks(talks_of_part, workers), strict=True)
            for s, wave in zip(talk.sentences, waves, strict=True)
            if has_valid_length(wave)
        ]
        mels = [
            m for i in range(0, len(pairs), 64) for m in features.log_mels(extractor, [w for w, _ in pairs[i : i + 64]])
        ]
        Utterances.of(mels, [t for _, t in pairs]).save(path)
        print(f"speech: part {part} of {len(train) // TALKS_PER_PART}, {len(pairs)} utterances", flush=True)
