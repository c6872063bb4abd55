"""German inflection: articles, adjective endings, noun forms, relative pronouns. Pure tables and functions."""

from __future__ import annotations

from embedded.recipe.lexicon import Adjective, Noun

CASES = ("nom", "acc", "dat", "gen")
_STRONG = {  # der, dieser, jeder: the endings that show case and gender
    "nom": {"m": "er", "f": "e", "n": "es", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "es", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
    "gen": {"m": "es", "f": "er", "n": "es", "p": "er"},
}
_DEFINITE = {
    "nom": {"m": "der", "f": "die", "n": "das", "p": "die"},
    "acc": {"m": "den", "f": "die", "n": "das", "p": "die"},
    "dat": {"m": "dem", "f": "der", "n": "dem", "p": "den"},
    "gen": {"m": "des", "f": "der", "n": "des", "p": "der"},
}
_STEMS = {"this": "dies", "every": "jed", "a": "ein", "our": "unser", "their": "ihr", "no": "kein"}
_EIN_WORDS = frozenset({"a", "our", "their", "no"})


def determiner(kind: str, case: str, gender: str) -> str:
    """The form of the article `kind` (the, this, every, a, our, their, no); gender "p" is the plural."""
    if kind == "the":
        return _DEFINITE[case][gender]
    ending = _STRONG[case][gender]
    if kind in _EIN_WORDS and (case, gender) in {("nom", "m"), ("nom", "n"), ("acc", "n")}:
        ending = ""
    return _STEMS[kind] + ending


def adjective(word: Adjective, kind: str | None, case: str, gender: str) -> str:
    """The adjective with its ending: weak after der-words, mixed after ein-words, strong after nothing."""
    if kind is None:
        strong = _STRONG[case][gender]
        return word.de_stem + ("en" if case == "gen" and gender in "mn" else strong)
    if kind in _EIN_WORDS and determiner(kind, case, gender) == _STEMS[kind]:
        return word.de_stem + _STRONG[case][gender]
    plain = (case == "nom" and gender != "p") or (case == "acc" and gender in "fn")
    return word.de_stem + ("e" if plain else "en")


def noun(word: Noun, case: str, *, plural: bool) -> str:
    if plural:
        return word.de_plural + ("n" if case == "dat" and word.de_plural[-1] not in "ns" else "")
    if case == "gen" or (word.weak and case != "nom"):
        return word.de_genitive
    return word.de


def relative_pronoun(case: str, gender: str) -> str:
    """The relative pronoun in the nominative or accusative, where it looks like the article."""
    return _DEFINITE[case][gender]
