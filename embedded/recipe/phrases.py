"""Random noun phrases and prepositional phrases in English, German and Chinese.

German text may end in the comma that closes a relative clause; `sentences.tidy` removes it where it is redundant.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from embedded.recipe import german
from embedded.recipe.lexicon import (
    ADJECTIVES,
    CITIES,
    FIRST_NAMES,
    NOUNS,
    PRONOUNS,
    QUANTIFIERS,
    SURNAMES,
    TITLES,
    TOPICS,
    VERBS,
    Adjective,
    Noun,
    Phrase,
    Verb,
    number,
)


@dataclass(frozen=True)
class NounPhrase:
    en: str
    de: str
    zh: str
    plural: bool
    kind: str
    collective: bool = False  # every, all: the Chinese predicate needs 都
    pronoun: bool = False
    indefinite: bool = False  # negated with kein instead of nicht
    negated: tuple[str, str] | None = None  # German with kein, Chinese without 一个


@dataclass
class WordSampler:
    """Draws random words; nouns of the talk's topic are five times as likely as others."""

    rng: random.Random
    topic: str
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        topic_nouns = TOPICS[self.topic].split()
        self.weights = {n.en: 5.0 if n.en in topic_nouns else 1.0 for n in NOUNS}

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def noun(self, kinds: str) -> Noun:
        candidates = [n for n in NOUNS if n.kind in kinds]
        return self.rng.choices(candidates, [self.weights[n.en] for n in candidates])[0]

    def verb(self, subject: str, objects: str = "PSMDTQ") -> Verb:
        candidates = [v for v in VERBS if subject in v.subjects and set(v.objects) & set(objects)]
        return self.rng.choice(candidates)

    def adjective(self, kind: str, *, compared: bool = False) -> Adjective:
        return self.rng.choice([a for a in ADJECTIVES if kind in a.kinds and (a.en_comparative or not compared)])


def pronoun(sampler: WordSampler) -> NounPhrase:
    word = sampler.rng.choices(PRONOUNS, [6, 2, 2])[0]
    return NounPhrase(word.en, word.de, word.zh, plural=True, kind="P", pronoun=True)


def person(sampler: WordSampler) -> NounPhrase:
    """A named person, sometimes with a city."""
    if sampler.chance(0.6):
        title, name = sampler.rng.choice(TITLES), sampler.rng.choice(SURNAMES)
        word = Phrase(f"{title.en} {name.en}", f"{title.de} {name.de}", name.zh + title.zh)
    else:
        word = sampler.rng.choice(FIRST_NAMES)
    if sampler.chance(0.3):
        city = sampler.rng.choice(CITIES)
        word = Phrase(f"{word.en} from {city.en}", f"{word.de} aus {city.de}", f"来自{city.zh}的{word.zh}")
    return NounPhrase(word.en, word.de, word.zh, plural=False, kind="P")


def institution(sampler: WordSampler, case: str) -> NounPhrase:
    city = sampler.rng.choice(CITIES)
    article = german.determiner("the", case, "f")
    en, de, zh = f"the University of {city.en}", f"{article} Universität {city.de}", f"{city.zh}大学"
    return NounPhrase(en, de, zh, plural=False, kind="P")


def _article_en(kind: str, following: str) -> str:
    if kind != "a":
        return kind
    return "an" if following[0] in "aeio" or following.startswith("un") else "a"


def _chinese_adjective(word: Adjective) -> str:
    return word.zh if word.relational or len(word.zh) == 1 else word.zh + "的"


def noun_phrase(
    sampler: WordSampler,
    case: str,
    kinds: str,
    *,
    adjective: float = 0.35,
    relative: float = 0.0,
    genitive: float = 0.0,
) -> NounPhrase:
    """A noun with a determiner, in one German case.

    `adjective`, `relative` and `genitive` are the probabilities of an adjective, relative clause and genitive.
    """
    rng = sampler.rng
    word = sampler.noun(kinds)
    if word.kind == "Q":
        genitive = max(genitive, 0.45)
    forms = ["the", "a", "our", "this", "number", "bare", "every", "quantifier", "their"]
    weights = [0, 0, 3, 0, 0, 0, 0, 0, 1] if word.kind == "Q" else [5, 3, 2, 2, 1.6, 0.8, 0.7, 1.2, 0.7]
    if word.kind == "Q" or (genitive and sampler.chance(genitive)):
        owner = sampler.chance(genitive)
        if owner or word.kind != "Q":
            return _noun_with_owner(sampler, word, case)
    form = rng.choices(forms, weights)[0]
    plural = form in {"number", "bare", "quantifier"} or (form in {"the", "our", "this"} and sampler.chance(0.25))
    plural = plural and word.kind != "Q"
    gender = "p" if plural else word.gender
    modifier = sampler.adjective(word.kind) if sampler.chance(adjective) else None
    en_noun = word.en_plural if plural else word.en
    en_rest = f"{modifier.en} {en_noun}" if modifier else en_noun
    zh_rest = (_chinese_adjective(modifier) if modifier else "") + word.zh
    kind: str | None = form
    indefinite = form in {"a", "bare"}
    if form == "number":
        count = number(rng.choice([*range(2, 11), 12, rng.randint(11, 99), rng.randint(11, 99)]), counting=True)
        en, de_det, zh_det, kind = count.en, count.de, count.zh + word.measure, None
    elif form == "quantifier":
        many = rng.choice(QUANTIFIERS)
        en, zh_det = many.en, many.zh
        de_det = many.de + ("n" if case == "dat" else "")
        kind = "the" if many.en == "all" else None
    elif form == "bare":
        en, de_det, zh_det, kind = "", "", "", None
    else:
        en = "these" if form == "this" and plural else _article_en(form, en_rest)
        de_det = german.determiner(form, case, gender)
        zh_det = {
            "the": "这些" if plural else "该",
            "this": "这些" if plural else f"这{word.measure}",
            "a": f"一{word.measure}",
            "every": f"每{word.measure}",
            "our": "我们的",
            "their": "他们的",
        }[form]
    de_noun = german.noun(word, case, plural=plural)
    de_adjective = german.adjective(modifier, kind, case, gender) + " " if modifier else ""
    de = f"{de_det} {de_adjective}{de_noun}".strip()
    en = f"{en} {en_rest}".strip()
    negated = None
    if indefinite:
        ending = german.adjective(modifier, "no", case, gender) + " " if modifier else ""
        negated = (f"{german.determiner('no', case, gender)} {ending}{de_noun}", zh_rest)
    if relative and form in {"the", "a", "number", "quantifier"} and sampler.chance(relative):
        en_clause, de_clause, zh_clause = _relative_clause(sampler, word, gender)
        en, de = f"{en} {en_clause}", f"{de}, {de_clause},"
        zh = (zh_clause + zh_rest) if form == "the" and not plural else zh_det + zh_clause + zh_rest
        negated, indefinite = None, False
    else:
        if form in {"our", "their"} and modifier and _chinese_adjective(modifier).endswith("的"):
            zh_det = zh_det[:-1]  # 我们重要的速度, not 我们的重要的速度
        zh = zh_det + zh_rest
    collective = form == "every" or (form == "quantifier" and zh_det == "所有")
    return NounPhrase(en, de, zh, plural, word.kind, collective, False, indefinite, negated)


_MARKED_IN_GENITIVE = frozenset({"the", "a", "an", "our", "this", "their"})  # determiners, in German


def _noun_with_owner(sampler: WordSampler, word: Noun, case: str) -> NounPhrase:
    """A noun with an owner ("the accuracy of the model"): a German genitive, or von with a name."""
    if word.kind in "MDTS" and sampler.chance(0.35):
        owner = person(sampler)
        de_owner = f"von {owner.de}"
    else:
        kinds = {"Q": "SMD", "P": "D", "S": "P"}.get(word.kind, "SDP")
        owner = noun_phrase(sampler, "gen", kinds, adjective=0.2)
        while owner.en.split()[0] not in _MARKED_IN_GENITIVE or not owner.de.split()[0].endswith(("s", "r")):
            owner = noun_phrase(sampler, "gen", kinds, adjective=0.2)
        de_owner = owner.de
    article = german.determiner("the", case, word.gender)
    de = f"{article} {german.noun(word, case, plural=False)} {de_owner}"
    return NounPhrase(f"the {word.en} of {owner.en}", de, f"{owner.zh}的{word.zh}", False, word.kind)


def _relative_clause(sampler: WordSampler, head: Noun, gender: str) -> tuple[str, str, str]:
    """A relative clause without its commas; German puts the verb last, Chinese puts the clause first."""
    plural = gender == "p"
    if head.kind != "P" and sampler.chance(0.6):
        subject = pronoun(sampler) if sampler.chance(0.7) else person(sampler)
        verb = sampler.verb("P", head.kind)
        link = german.relative_pronoun("acc", gender)
        if sampler.chance(0.4):
            de_verb = f"{verb.de_participle} {'haben' if subject.plural else 'hat'}"
            return f"that {subject.en} {verb.en_past}", f"{link} {subject.de} {de_verb}", f"{subject.zh}{verb.zh}的"
        en_verb = verb.en if subject.plural else verb.en_third
        de_verb = verb.de_prefix + (verb.de if subject.plural else verb.de_third)
        return f"that {subject.en} {en_verb}", f"{link} {subject.de} {de_verb}", f"{subject.zh}{verb.zh}的"
    link = german.relative_pronoun("nom", gender)
    pronoun_en = "who" if head.kind == "P" else "that"
    verbs = [v for v in VERBS if head.kind in v.subjects]
    if not verbs or sampler.chance(0.25):
        modifier = sampler.adjective(head.kind)
        de = f"{link} sehr {modifier.de} {'sind' if plural else 'ist'}"
        if modifier.relational:
            de = f"{link} {modifier.de} {'sind' if plural else 'ist'}"
            return f"{pronoun_en} {'are' if plural else 'is'} {modifier.en}", de, f"{modifier.zh}的"
        return f"{pronoun_en} {'are' if plural else 'is'} very {modifier.en}", de, f"非常{modifier.zh}的"
    verb = sampler.rng.choice(verbs)
    thing = noun_phrase(sampler, "acc", verb.objects, adjective=0.2)
    de_verb = verb.de_prefix + (verb.de if plural else verb.de_third)
    en_verb = verb.en if plural else verb.en_third
    return f"{pronoun_en} {en_verb} {thing.en}", f"{link} {thing.de} {de_verb}", f"{verb.zh}{thing.zh}的"


_PREPOSITIONS = (  # en, de, case, zh before, zh after, kinds
    ("with", "mit", "dat", "用", "", "SMD"),
    ("without", "ohne", "acc", "不用", "", "SMD"),
    ("for", "für", "acc", "为", "", "TP"),
    ("on", "auf", "dat", "在", "上", "D"),
    ("in", "in", "dat", "在", "中", "T"),
    ("together with", "zusammen mit", "dat", "与", "一起", "P"),
)


def prepositional(sampler: WordSampler) -> Phrase:
    """A prepositional phrase; Chinese puts it before the verb."""
    if sampler.chance(0.1):
        place = institution(sampler, "dat")
        return Phrase(f"at {place.en}", f"an {place.de}", f"在{place.zh}")
    if sampler.chance(0.12):
        hours = number(sampler.rng.randint(2, 40), counting=True)
        return Phrase(f"in {hours.en} hours", f"in {hours.de} Stunden", f"在{hours.zh}小时内")
    en, de, case, before, after, kinds = sampler.rng.choice(_PREPOSITIONS)
    if kinds == "P" and sampler.chance(0.6):
        thing = person(sampler)
    else:
        thing = noun_phrase(sampler, case, kinds, adjective=0.3)
    return Phrase(f"{en} {thing.en}", f"{de} {thing.de}", f"{before}{thing.zh}{after}")
