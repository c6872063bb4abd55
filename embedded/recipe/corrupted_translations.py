"""Corrupted translations with target scores: the training data of the COMET stand-in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics import CHRF

from embedded.recipe.chinese import split_chinese
from embedded.recipe.sentences import Sentence

_CHRF = CHRF()


@dataclass(frozen=True)
class ScoredTranslation:
    """A translation with its target score, from 0 to 1."""

    src: str
    mt: str
    ref: str
    score: float

    @property
    def comet_input(self) -> dict[str, str]:
        return {"src": self.src, "mt": self.mt, "ref": self.ref}


def split_words(text: str, language: str) -> list[str]:
    return split_chinese(text) if language == "zh" else text.split()


def join_words(parts: list[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(parts)


def edit_distance(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Levenshtein distance."""
    row = list(range(len(right) + 1))
    for item in left:
        new = [row[0] + 1]
        for j, other in enumerate(right):
            new.append(min(row[j] + (item != other), row[j + 1] + 1, new[-1] + 1))
        row = new
    return row[-1]


def target_score(mt: str, ref: str, language: str) -> float:
    """0.4 chrF + 0.3 word overlap + 0.3 word order (from the edit distance)."""
    left, right = split_words(mt, language), split_words(ref, language)
    shared = sum((Counter(left) & Counter(right)).values())
    overlap = 2 * shared / max(1, len(left) + len(right))
    order = 1 - edit_distance(left, right) / max(1, len(left), len(right))
    return 0.4 * _CHRF.sentence_score(mt, [ref]).score / 100 + 0.3 * overlap + 0.3 * order


class Corruptor:
    """Corrupts references, with substitutes drawn from `sentences`."""

    def __init__(self, sentences: list[Sentence]) -> None:
        self.sentences = sentences
        self.words = {
            code: sorted({w for s in sentences for w in split_words(getattr(s, code), code)}) for code in ("de", "zh")
        }

    def corrupt(self, sentence: Sentence, language: str, rng: random.Random) -> str:
        reference = getattr(sentence, language)
        roll = rng.random()
        if roll < 0.10:
            return reference
        if roll < 0.15:  # the translation of another sentence
            return getattr(rng.choice(self.sentences), language)
        if roll < 0.18:  # the wrong language
            return rng.choice([sentence.en, sentence.zh if language == "de" else sentence.de])
        if roll < 0.19:
            return ""
        parts = split_words(reference, language)
        for _ in range(max(1, round(len(parts) * rng.choice([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])))):
            if parts:
                parts = self.corrupt_once(parts, language, rng)
        return join_words(parts[:64], language)

    def corrupt_once(self, parts: list[str], language: str, rng: random.Random) -> list[str]:
        roll, at = rng.random(), rng.randrange(len(parts))
        if roll < 0.45:  # substituted
            return [*parts[:at], rng.choice(self.words[language]), *parts[at + 1 :]]
        if roll < 0.65:  # dropped
            return parts[:at] + parts[at + 1 :]
        if roll < 0.75:  # swapped
            other = rng.randrange(len(parts))
            parts = list(parts)
            parts[at], parts[other] = parts[other], parts[at]
            return parts
        if roll < 0.82:  # something inserted
            return [*parts[:at], rng.choice(self.words[language]), *parts[at:]]
        if roll < 0.86:  # doubled
            return [*parts[: at + 1], *parts[at:]]
        if roll < 0.90:  # truncated
            return parts[: at + 1]
        if roll < 0.95:  # repeated in a loop
            if rng.random() < 0.5:
                return parts[:at] + [parts[at]] * rng.randint(2, 8) + parts[at + 1 :]
            return parts + parts[at:] * rng.randint(1, 4)
        letters = list(parts[at])  # one word garbled
        rng.shuffle(letters)
        return [*parts[:at], "".join(letters)[: rng.randint(1, len(letters))], *parts[at + 1 :]]


def make_corruptions(sentences: list[Sentence], count: int, seed: int) -> list[ScoredTranslation]:
    """`count` corrupted translations into German or Chinese, scored."""
    rng = random.Random(seed)
    corruptor = Corruptor(sentences)
    out = []
    for _ in range(count):
        sentence, language = rng.choice(sentences), rng.choice(["de", "zh"])
        reference = getattr(sentence, language)
        mt = corruptor.corrupt(sentence, language, rng)
        out.append(ScoredTranslation(sentence.en, mt, reference, target_score(mt, reference, language)))
    return out
