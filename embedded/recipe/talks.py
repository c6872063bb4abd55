"""Talks: one speaker, one topic, about sixteen sentences; whole talks go to train, dev or eval.

No English sentence is in two splits, nor twice in one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from embedded.recipe.lexicon import TOPICS
from embedded.recipe.phrases import Speaker
from embedded.recipe.sentences import Sentence, sentence

ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029")
_MEN, _WOMEN = ("+m1", "+m2", "+m3", "+m4", "+m7"), ("+f1", "+f2", "+f3", "+f4")
TIMBRES = ("", *_MEN, *_WOMEN, "+max", "+linda", "+steph", "+adam", "+michael")
MIN_WORDS, MAX_WORDS = 6, 16
SEGMENTS = 16


@dataclass(frozen=True)
class Voice:
    name: str  # as espeak-ng's -v takes it
    speed: int  # words a minute
    pitch: int  # 0–99


@dataclass(frozen=True)
class Talk:
    name: str
    topic: str
    voice: Voice
    sentences: tuple[Sentence, ...]


def words_in(text: str) -> int:
    return len(text.split())


def talks(count: int, seed: int, split: str, taken: set[str]) -> list[Talk]:
    """`count` talks; their sentences are added to `taken` and none of them was in it before."""
    rng = random.Random(f"{seed}/{split}")
    out = []
    for index in range(count):
        topic = rng.choice(sorted(TOPICS))
        voice = Voice(rng.choice(ACCENTS) + rng.choice(TIMBRES), rng.randint(170, 225), rng.randint(30, 70))
        speaker = Speaker(rng, topic)
        said: list[Sentence] = []
        while len(said) < SEGMENTS:
            candidate = sentence(speaker)
            if candidate.en in taken or not MIN_WORDS <= words_in(candidate.en) <= MAX_WORDS:
                continue
            taken.add(candidate.en)
            said.append(candidate)
        out.append(Talk(f"{split}-{index:03d}", topic, voice, tuple(said)))
    return out


@dataclass(frozen=True)
class Sizes:
    train: int = 640
    dev: int = 9
    eval: int = 9


def splits(seed: int, sizes: Sizes = Sizes()) -> dict[str, list[Talk]]:
    """eval first, then dev, then train, so that a larger training set leaves the other two as they are."""
    taken: set[str] = set()
    return {name: talks(getattr(sizes, name), seed, name, taken) for name in ("eval", "dev", "train")}
