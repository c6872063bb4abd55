"""Random clauses and sentences, with the word order of English, German and Chinese.

A clause is built once and then used as a main clause (German verb second), after an opener (German inverts) or after a
conjunction (German puts the finite verb last).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from embedded.recipe.lexicon import ADJECTIVES, ADVERBS, MODALS, OPENERS, REPORTING, VERBS, Phrase, number
from embedded.recipe.phrases import NounPhrase, WordSampler, institution, noun_phrase, person, prepositional, pronoun


@dataclass(frozen=True)
class Sentence:
    en: str
    de: str
    zh: str


@dataclass(frozen=True)
class Clause:
    """The parts of a clause that change place between main clause, question and subordinate clause."""

    en_subject: str
    en_predicate: str
    en_auxiliary: str  # in a question: do, does, did, can, is …
    en_rest: str
    de_subject: str
    de_finite: str
    de_middle: str
    de_tail: str  # infinitive or participle
    de_prefix: str  # of a separable verb
    zh_subject: str
    zh_predicate: str

    @property
    def en(self) -> str:
        return f"{self.en_subject} {self.en_predicate}"

    @property
    def zh(self) -> str:
        return self.zh_subject + self.zh_predicate

    @property
    def de_second(self) -> str:
        return f"{self.de_subject} {self.de_finite} {self.de_middle} {self.de_tail} {self.de_prefix}"

    @property
    def de_inverted(self) -> str:
        return f"{self.de_finite} {self.de_subject} {self.de_middle} {self.de_tail} {self.de_prefix}"

    @property
    def de_last(self) -> str:
        return f"{self.de_subject} {self.de_middle} {self.de_tail} {self.de_prefix}{self.de_finite}"


def _subject(sampler: WordSampler, kinds: str = "PSM", *, relative: float = 0.0) -> NounPhrase:
    roll = sampler.rng.random()
    if "P" in kinds and roll < 0.4:
        return pronoun(sampler)
    if "P" in kinds and roll < 0.52:
        return person(sampler)
    return noun_phrase(sampler, "nom", kinds, adjective=0.3, relative=relative, genitive=0.08)


def active(sampler: WordSampler, *, rich: bool, questioned: bool = False) -> Clause:
    """An active clause: tense or modal, negation, adverb, prepositional phrase, percentage, two objects."""
    rng = sampler.rng
    subject = _subject(sampler, relative=0.25 if rich else 0.0)
    verb = rng.choice([v for v in VERBS if subject.kind in v.subjects])
    plural = subject.plural
    tense = rng.choices(["present", "past", "modal"], [5, 3, 2.5])[0]
    negative = not questioned and sampler.chance(0.1)
    thing = noun_phrase(sampler, "acc", verb.objects, relative=0.3 if rich else 0.0, genitive=0.15 if rich else 0.05)
    if not negative and sampler.chance(0.12):
        other = noun_phrase(sampler, "acc", thing.kind, adjective=0.2)
        joined = f"{thing.zh}和{other.zh}"
        thing = NounPhrase(f"{thing.en} and {other.en}", f"{thing.de} und {other.de}", joined, True, thing.kind)
    adverb = rng.choice(ADVERBS) if not negative and not questioned and sampler.chance(0.14) else None
    place = prepositional(sampler) if sampler.chance(0.5 if rich else 0.2) else None
    share = None
    if thing.kind == "Q" and verb.zh in {"提高", "降低", "改进"} and not negative and sampler.chance(0.7):
        share = number(rng.randint(2, 99), counting=False)
    de_object, zh_object, de_not = thing.de, thing.zh, "nicht" if negative else ""
    if negative and thing.negated:
        de_object, zh_object, de_not = thing.negated[0], thing.negated[1], ""
    modal = rng.choice(MODALS)
    if negative and modal[0] == "must":
        modal = ("must", "dürfen", "darf", "能")  # "must not" forbids
    if tense == "present":
        de_finite, de_tail, de_prefix = (verb.de if plural else verb.de_third), "", verb.de_prefix
        en_auxiliary, en_verb = ("do" if plural else "does"), (verb.en if plural else verb.en_third)
        zh_before, zh_after = "不" if negative else "", ""
    elif tense == "past":
        de_finite, de_tail, de_prefix = ("haben" if plural else "hat"), verb.de_participle, ""
        en_auxiliary, en_verb = "did", verb.en_past
        habitual = adverb is not None and adverb.en in {"often", "always", "still"}
        unmarked = questioned or habitual or verb.en == "need"  # Chinese omits 了 here
        zh_before, zh_after = ("没有", "") if negative else ("", "" if unmarked else "了")
    else:
        de_finite, de_tail, de_prefix = (modal[1] if plural else modal[2]), verb.de_infinitive, ""
        en_auxiliary, en_verb = modal[0], f"{modal[0]} {verb.en}"
        zh_before, zh_after = ("不" if negative else "") + modal[3], ""
    if negative:
        en_verb = f"{en_auxiliary} not {verb.en}"
    if adverb:
        en_verb = f"{modal[0]} {adverb.en} {verb.en}" if tense == "modal" else f"{adverb.en} {en_verb}"
    en_tail = " ".join(x for x in (thing.en, f"by {share.en} percent" if share else "", place.en if place else "") if x)
    middle = (
        adverb.de if adverb else "",
        de_object,
        f"um {share.de} Prozent" if share else "",
        de_not,
        place.de if place else "",
    )
    # order in the predicate: 也 and 都, negation or modal, place, verb
    zh_adverb = ("都" if subject.collective else "") + (adverb.zh if adverb else "")
    zh_place = place.zh if place else ""
    zh_share = f"百分之{share.zh}" if share else ""
    if share:
        done = "" if tense == "modal" else "了"
        zh_verb = f"{zh_before}{zh_place}把{zh_object}{verb.zh}{done}{zh_share}"
    else:
        zh_verb = f"{zh_before}{zh_place}{verb.zh}{zh_after}{zh_object}"
    return Clause(
        subject.en, f"{en_verb} {en_tail}", en_auxiliary, f"{verb.en} {en_tail}",
        subject.de, de_finite, " ".join(middle), de_tail, de_prefix,
        subject.zh, zh_adverb + zh_verb,
    )  # fmt: skip


_NO_PASSIVE = frozenset({"need", "understand", "find", "invite", "help", "support"})


def passive(sampler: WordSampler) -> Clause:
    """A passive clause in the past, with its agent."""
    candidates = [v for v in VERBS if "P" in v.subjects and set(v.objects) & set("SMD") and v.en not in _NO_PASSIVE]
    verb = sampler.rng.choice(candidates)
    thing = noun_phrase(sampler, "nom", "".join(k for k in verb.objects if k in "SMD"), relative=0.1)
    if sampler.chance(0.5):
        agent = person(sampler)
        de_agent = f"von {agent.de}"
    elif sampler.chance(0.5):
        agent = institution(sampler, "dat")
        de_agent = f"von {agent.de}"
    else:
        agent = noun_phrase(sampler, "dat", "P", adjective=0.3)
        de_agent = f"von {agent.de}"
    be = "were" if thing.plural else "was"
    done = {"wrote": "written"}.get(verb.en_past, verb.en_past)
    every = "都" if thing.collective else ""
    return Clause(
        thing.en, f"{be} {done} by {agent.en}", be, f"{done} by {agent.en}",
        thing.de, "wurden" if thing.plural else "wurde", de_agent, verb.de_participle, "",
        thing.zh, f"{every}由{agent.zh}{verb.zh}",
    )  # fmt: skip


_DEGREES = (("very ", "sehr ", "非常"), ("not ", "nicht ", "不"), ("too ", "zu ", "太"), ("", "", "很"))
_OPPOSITES = (
    {"new", "old"}, {"large", "small"}, {"fast", "slow"}, {"cheap", "expensive"}, {"long", "short"}, {"high", "low"},
    {"simple", "complex"}, {"simple", "difficult"}, {"old", "young"},
)  # fmt: skip


def description(sampler: WordSampler, *, rich: bool) -> Clause:
    """A clause with "be": a comparison, two adjectives, or one adjective with a degree."""
    kinds = "SSSMDTQP" if rich else "SMDTQ"
    relative = 0.3 if rich else 0.0
    kind = sampler.rng.choice(kinds)
    thing = noun_phrase(sampler, "nom", kind, adjective=0.12, relative=relative, genitive=0.15)
    be_en, be_de = ("are", "sind") if thing.plural else ("is", "ist")
    every = "都" if thing.collective else ""
    roll = sampler.rng.random()
    if roll < 0.4:
        word = sampler.adjective(thing.kind, compared=True) if thing.kind != "P" else None
        if word:
            other = noun_phrase(sampler, "nom", thing.kind, adjective=0.15, relative=relative)
            en, de = f"{word.en_comparative} than {other.en}", f"{word.de_comparative} als {other.de}"
            zh = f"{every}比{other.zh}更{word.zh}"
            return Clause(thing.en, f"{be_en} {en}", be_en, en, thing.de, be_de, de, "", "", thing.zh, zh)
    word = sampler.adjective(thing.kind)
    if roll < 0.62 and not word.relational:
        second = sampler.adjective(thing.kind)
        if {word.en, second.en} in _OPPOSITES:
            second = next(a for a in ADJECTIVES if a.en == "important")
        if second != word and not second.relational:
            en, de = f"{word.en} and {second.en}", f"{word.de} und {second.de}"
            zh = f"{every}既{word.zh}又{second.zh}"
            return Clause(thing.en, f"{be_en} {en}", be_en, en, thing.de, be_de, de, "", "", thing.zh, zh)
    degree = sampler.rng.choice(_DEGREES)
    if word.relational:
        degree = sampler.rng.choice([("not ", "nicht ", "不是"), ("", "", "是")])
    en, de = degree[0] + word.en, degree[1] + word.de
    zh = every + degree[2] + word.zh + ("的" if word.relational else "")
    return Clause(thing.en, f"{be_en} {en}", be_en, en, thing.de, be_de, de, "", "", thing.zh, zh)


def _simple(sampler: WordSampler) -> Clause:
    roll = sampler.rng.random()
    if roll < 0.6:
        return active(sampler, rich=False)
    return passive(sampler) if roll < 0.7 else description(sampler, rich=False)


def _plain(clause: Clause) -> Sentence:
    return Sentence(f"{clause.en}.", f"{clause.de_second}.", f"{clause.zh}。")


def _opened(sampler: WordSampler, clause: Clause) -> Sentence:
    past = clause.de_finite in {"haben", "hat", "wurde", "wurden"}
    opener = sampler.rng.choice([o for o in OPENERS if past or o.en != "last year"])
    return Sentence(f"{opener.en} {clause.en}.", f"{opener.de} {clause.de_inverted}.", f"{opener.zh}{clause.zh}。")


_QUESTIONS = (Phrase("why", "Warum", "为什么"), Phrase("how", "Wie", "如何"), Phrase("when", "Wann", "什么时候"))


def _question(sampler: WordSampler, clause: Clause) -> Sentence:
    word = sampler.rng.choice(_QUESTIONS)
    en = f"{word.en} {clause.en_auxiliary} {clause.en_subject} {clause.en_rest}?"
    predicate = word.zh + clause.zh_predicate
    modal = next((m[3] for m in MODALS if m[0] == clause.en_auxiliary), None)
    if word.en == "how" and modal:  # 应该如何, but 为什么应该
        predicate = clause.zh_predicate.replace(modal, modal + word.zh, 1)
    return Sentence(en, f"{word.de} {clause.de_inverted}?", f"{clause.zh_subject}{predicate}？")


def _reported(sampler: WordSampler) -> Sentence:
    verb = sampler.rng.choice(REPORTING)
    subject = noun_phrase(sampler, "nom", "T") if verb.subjects == "T" else _subject(sampler, "P")
    clause = _simple(sampler)
    en = f"{subject.en} {verb.en if subject.plural else verb.en_third} that {clause.en}."
    de = f"{subject.de} {verb.de if subject.plural else verb.de_third}, dass {clause.de_last}."
    every = "都" if subject.collective else ""
    return Sentence(en, de, f"{subject.zh}{every}{verb.zh}{clause.zh}。")


def _joined(sampler: WordSampler) -> Sentence:
    first, second = _simple(sampler), _simple(sampler)
    kind = sampler.rng.choice(["because", "because", "if", "although", "but", "and"])
    if kind == "if":
        de = f"wenn {first.de_last}, {second.de_inverted}."
        zh = f"如果{first.zh}，{second.zh_subject}就{second.zh_predicate}。"
        return Sentence(f"if {first.en}, {second.en}.", de, zh)
    if kind == "although":
        de = f"obwohl {first.de_last}, {second.de_inverted}."
        return Sentence(f"although {first.en}, {second.en}.", de, f"虽然{first.zh}，但{second.zh}。")
    if kind == "because":
        de = f"{first.de_second}, weil {second.de_last}."
        return Sentence(f"{first.en} because {second.en}.", de, f"{first.zh}，因为{second.zh}。")
    de_link, zh_link = {"but": ("aber", "但"), "and": ("und", "而且")}[kind]
    de = f"{first.de_second}, {de_link} {second.de_second}."
    return Sentence(f"{first.en}, {kind} {second.en}.", de, f"{first.zh}，{zh_link}{second.zh}。")


def tidy(text: str) -> str:
    """Merges spaces and commas, and capitalizes the first letter."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" +([,.?])", r"\1", text)
    text = re.sub(r",+([,.?])", r"\1", text)
    return text[0].upper() + text[1:]


def random_sentence(sampler: WordSampler) -> Sentence:
    """One random sentence of a talk."""
    roll = sampler.rng.random()
    if roll < 0.30:
        clause = active(sampler, rich=True)
        result = _opened(sampler, clause) if sampler.chance(0.3) else _plain(clause)
    elif roll < 0.38:
        clause = passive(sampler)
        result = _opened(sampler, clause) if sampler.chance(0.4) else _plain(clause)
    elif roll < 0.54:
        clause = description(sampler, rich=True)
        result = _opened(sampler, clause) if sampler.chance(0.3) else _plain(clause)
    elif roll < 0.62:
        result = _question(sampler, active(sampler, rich=True, questioned=True))
    elif roll < 0.80:
        result = _reported(sampler)
    else:
        result = _joined(sampler)
    return replace(result, en=tidy(result.en), de=tidy(result.de))
