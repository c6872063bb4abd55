"""The grammar: reproducible talks, disjoint splits, correct inflection and agreement."""

from __future__ import annotations

import random
import re

import pytest

from embedded.recipe import german
from embedded.recipe.lexicon import ADJECTIVES, NOUNS, TOPICS, VERBS, Adjective, Noun, number
from embedded.recipe.phrases import WordSampler, noun_phrase
from embedded.recipe.sentences import random_sentence, tidy
from embedded.recipe.talks import MAX_WORDS, MIN_WORDS, SEGMENTS, Sizes, count_words, splits

SMALL = Sizes(train=20, dev=4, eval=4)


def noun(en: str) -> Noun:
    return next(n for n in NOUNS if n.en == en)


def adjective(en: str) -> Adjective:
    return next(a for a in ADJECTIVES if a.en == en)


def test_a_seed_gives_the_same_talks_and_another_seed_others() -> None:
    assert splits(5, SMALL) == splits(5, SMALL)
    assert splits(5, SMALL) != splits(6, SMALL)


def test_no_sentence_is_in_two_splits_nor_twice_in_one() -> None:
    sentences = [s.en for talks in splits(1, SMALL).values() for t in talks for s in t.sentences]
    assert len(sentences) == len(set(sentences)) == SEGMENTS * 28


def test_a_larger_training_set_leaves_dev_and_eval_as_they_are() -> None:
    small, large = splits(1, SMALL), splits(1, Sizes(train=40, dev=4, eval=4))
    assert small["eval"] == large["eval"]
    assert small["dev"] == large["dev"]


def test_sentences_are_of_the_length_and_form_promised() -> None:
    for talks in splits(2, SMALL).values():
        for talk in talks:
            for s in talk.sentences:
                assert MIN_WORDS <= count_words(s.en) <= MAX_WORDS
                assert re.fullmatch(r"[A-Z][A-Za-z ,'-]+[.?]", s.en), s.en
                assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zäöüÄÖÜß ,-]+[.?]", s.de), s.de
                assert re.fullmatch(r"[\u4e00-\u9fff，]+[。？]", s.zh), s.zh
                assert "  " not in s.de
                assert ",," not in s.de
                assert s.en.endswith("?") == s.de.endswith("?") == s.zh.endswith("？")


@pytest.mark.parametrize(
    ("kind", "case", "gender", "form"),
    [
        ("the", "acc", "m", "den"),
        ("the", "dat", "p", "den"),
        ("a", "nom", "f", "eine"),
        ("a", "acc", "m", "einen"),
        ("this", "gen", "n", "dieses"),
        ("our", "nom", "m", "unser"),
        ("no", "dat", "f", "keiner"),
        ("every", "acc", "m", "jeden"),
        ("their", "gen", "p", "ihrer"),
    ],
)
def test_determiners(kind: str, case: str, gender: str, form: str) -> None:
    assert german.determiner(kind, case, gender) == form


@pytest.mark.parametrize(
    ("kind", "case", "gender", "form"),
    [
        ("the", "nom", "m", "neue"),
        ("the", "acc", "m", "neuen"),
        ("the", "nom", "p", "neuen"),
        ("a", "nom", "m", "neuer"),
        ("a", "acc", "n", "neues"),
        ("a", "dat", "f", "neuen"),
        (None, "acc", "p", "neue"),
        (None, "dat", "p", "neuen"),
        (None, "gen", "p", "neuer"),
    ],
)
def test_adjective_endings(kind: str | None, case: str, gender: str, form: str) -> None:
    assert german.adjective(adjective("new"), kind, case, gender) == form


def test_irregular_stems_and_weak_nouns() -> None:
    assert german.adjective(adjective("expensive"), "a", "nom", "m") == "teurer"
    assert german.adjective(adjective("high"), "the", "acc", "f") == "hohe"
    assert german.noun(noun("student"), "acc", plural=False) == "Studenten"
    assert german.noun(noun("graph"), "acc", plural=False) == "Graphen"
    assert german.noun(noun("colleague"), "nom", plural=False) == "Kollege"
    assert german.noun(noun("model"), "dat", plural=True) == "Modellen"
    assert german.noun(noun("system"), "gen", plural=False) == "Systems"
    assert german.noun(noun("label"), "dat", plural=True) == "Labels"


@pytest.mark.parametrize(
    ("value", "en", "de", "zh"),
    [
        (2, "two", "zwei", "两"),
        (12, "twelve", "zwölf", "十二"),
        (20, "twenty", "zwanzig", "二十"),
        (31, "thirty-one", "einunddreißig", "三十一"),
        (99, "ninety-nine", "neunundneunzig", "九十九"),
    ],
)
def test_numbers(value: int, en: str, de: str, zh: str) -> None:
    phrase = number(value, counting=True)
    assert (phrase.en, phrase.de, phrase.zh) == (en, de, zh)


def test_numbers_out_of_range_are_refused_with_the_value() -> None:
    with pytest.raises(ValueError, match="100"):
        number(100, counting=True)


def test_subject_and_verb_agree_in_every_main_clause_that_starts_with_we() -> None:
    plural = {v.de for v in VERBS} | {"haben", "können", "sollten", "müssen", "dürfen"}
    rng = random.Random(4)
    sampler = WordSampler(rng, "speech")
    seen = 0
    while seen < 100:
        s = random_sentence(sampler)
        match = re.match(r"Wir (\w+)", s.de)
        if match and s.en.startswith("We ") and " that " not in s.en:
            assert match.group(1) in plural | {"zeigen", "glauben", "wissen", "sagen", "hoffen", "vermuten"}, s.de
            seen += 1


def test_an_stands_before_vowels_and_a_before_a_spoken_y() -> None:
    rng = random.Random(9)
    for topic in TOPICS:
        sampler = WordSampler(rng, topic)
        for _ in range(300):
            words = noun_phrase(sampler, "nom", "SMDTP").en.split()
            if words[0] in {"a", "an"}:
                vowel = words[1][0] in "aeio" or words[1].startswith("un")
                assert (words[0] == "an") == vowel, words


def test_tidy_closes_relative_clauses_with_one_comma() -> None:
    assert tidy("das Modell, das wir trainieren, .") == "Das Modell, das wir trainieren."
    assert tidy("das Modell,  das wir trainieren, , weil") == "Das Modell, das wir trainieren, weil"
