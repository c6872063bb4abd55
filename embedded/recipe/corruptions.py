"""Hypotheses that are wrong in a known measure: what COMET's stand-in learns to see."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from sacrebleu.metrics import CHRF

from embedded.recipe.sentences import Sentence
from embedded.recipe.shape import chinese_words

_CHRF = CHRF()


@dataclass(frozen=True)
class Judged:
    """A translation with what it is worth, from 0 to 1."""

    src: str
    mt: str
    ref: str
    score: float

    @property
    def sample(self) -> dict[str, str]:
        return {"src": self.src, "mt": self.mt, "ref": self.ref}


def cut(text: str, language: str) -> list[str]:
    return chinese_words(text) if language == "zh" else text.split()


def joined(parts: list[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(parts)


def worth(mt: str, ref: str, language: str) -> float:
    """chrF (0.4), word overlap (0.3) and word order (0.3, from the edit distance)."""
    left, right = cut(mt, language), cut(ref, language)
    shared = sum((Counter(left) & Counter(right)).values())
    overlap = 2 * shared / max(1, len(left) + len(right))
    row = list(range(len(right) + 1))
    for item in left:
        new = [row[0] + 1]
        for j, other in enumerate(right):
            new.append(min(row[j] + (item != other), row[j + 1] + 1, new[-1] + 1))
        row = new
    order = 1 - row[-1] / max(1, len(left), len(right))
    return 0.4 * _CHRF.sentence_score(mt, [ref]).score / 100 + 0.3 * overlap + 0.3 * order


class Corruptor:
    """Corrupts references, drawing substitutes from the sentences it was given."""

    def __init__(self, sentences: list[Sentence]) -> None:
        self.sentences = sentences
        self.words = {
            code: sorted({w for s in sentences for w in cut(getattr(s, code), code)}) for code in ("de", "zh")
        }

    def corrupt(self, sentence: Sentence, language: str, rng: random.Random) -> str:
        reference = getattr(sentence, language)
        roll = rng.random()
        if roll < 0.10:
            return reference
        if roll < 0.15:  # fluent, but of another sentence
            return getattr(rng.choice(self.sentences), language)
        if roll < 0.18:  # the wrong language
            return rng.choice([sentence.en, sentence.zh if language == "de" else sentence.de])
        if roll < 0.19:
            return ""
        parts = cut(reference, language)
        for _ in range(max(1, round(len(parts) * rng.choice([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])))):
            if parts:
                parts = self._once(parts, language, rng)
        return joined(parts[:64], language)

    def _once(self, parts: list[str], language: str, rng: random.Random) -> list[str]:
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
        if roll < 0.95:  # caught in a loop
            if rng.random() < 0.5:
                return parts[:at] + [parts[at]] * rng.randint(2, 8) + parts[at + 1 :]
            return parts + parts[at:] * rng.randint(1, 4)
        letters = list(parts[at])  # one word garbled
        rng.shuffle(letters)
        return [*parts[:at], "".join(letters)[: rng.randint(1, len(letters))], *parts[at + 1 :]]


def judged(sentences: list[Sentence], count: int, seed: int) -> list[Judged]:
    """`count` corrupted translations into both languages with their worth."""
    rng = random.Random(seed)
    corruptor = Corruptor(sentences)
    out = []
    for _ in range(count):
        sentence, language = rng.choice(sentences), rng.choice(["de", "zh"])
        reference = getattr(sentence, language)
        mt = corruptor.corrupt(sentence, language, rng)
        out.append(Judged(sentence.en, mt, reference, worth(mt, reference, language)))
    return out
