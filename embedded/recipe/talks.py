"""Talks: one voice, one topic, 16 sentences. Each talk is in one of the splits train, dev and eval.

No English sentence occurs twice, in one split or in two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from embedded.recipe.lexicon import TOPICS
from embedded.recipe.phrases import WordSampler
from embedded.recipe.sentences import Sentence, random_sentence

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


def count_words(text: str) -> int:
    return len(text.split())


def make_talks(count: int, seed: int, split: str, taken: set[str]) -> list[Talk]:
    """Makes `count` talks of sentences that are not in `taken`, and adds their sentences to it."""
    rng = random.Random(f"{seed}/{split}")
    out = []
    for index in range(count):
        topic = rng.choice(sorted(TOPICS))
        voice = Voice(rng.choice(ACCENTS) + rng.choice(TIMBRES), rng.randint(170, 225), rng.randint(30, 70))
        sampler = WordSampler(rng, topic)
        sentences: list[Sentence] = []
        while len(sentences) < SEGMENTS:
            candidate = random_sentence(sampler)
            if candidate.en in taken or not MIN_WORDS <= count_words(candidate.en) <= MAX_WORDS:
                continue
            taken.add(candidate.en)
            sentences.append(candidate)
        out.append(Talk(f"{split}-{index:03d}", topic, voice, tuple(sentences)))
    return out


@dataclass(frozen=True)
class Sizes:
    """Talks in each split."""

    train: int = 640
    dev: int = 9
    eval: int = 9


def splits(seed: int, sizes: Sizes = Sizes()) -> dict[str, list[Talk]]:
    """Makes eval, dev and train in this order, so that dev and eval do not depend on the size of train."""
    taken: set[str] = set()
    return {name: make_talks(getattr(sizes, name), seed, name, taken) for name in ("eval", "dev", "train")}
