"""Which tokens a pair of languages needs, by script alone: no text is looked at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from compress.errors import UserError

_LATIN, _HAN = ("LATIN", "FULLWIDTH LATIN"), ("CJK", "KANGXI", "IDEOGRAPHIC")
_LATIN_LANGUAGES = "cs da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl sv tr vi"
# First words of the Unicode names of the letters a language is written in.
LANGUAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        [
            "en",
            "de",
            "fr",
            "es",
            "it",
            "pt",
            "nl",
            "cs",
            "sk",
            "pl",
            "sv",
            "da",
            "no",
            "fi",
            "hu",
            "ro",
            "tr",
            "et",
            "lv",
            "lt",
            "sl",
            "hr",
            "vi",
            "id",
        ],
        _LATIN,
    ),
    "zh": _HAN,
    "ja": (*_HAN, "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"),
    "ko": ("HANGUL", *_HAN),
    **dict.fromkeys(["ar", "arz", "fa", "ur"], ("ARABIC",)),
    **dict.fromkeys(["ru", "uk", "bg", "sr"], ("CYRILLIC",)),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "bho": ("DEVANAGARI",),
    "bn": ("BENGALI",),
    "ta": ("TAMIL",),
    "th": ("THAI",),
}
# First bytes, in UTF-8, of the letters of a script: for tokens that hold a part of a character only.
_LEADS = {"LATIN": range(0xC3, 0xC6), "CJK": range(0xE3, 0xEA), "HANGUL": range(0xEA, 0xEE), "CYRILLIC": (0xD0, 0xD1)}


def script_prefixes(languages: Iterable[str]) -> tuple[str, ...]:
    """What the Unicode name of a letter of these languages begins with."""
    found: list[str] = []
    for language in languages:
        if language not in LANGUAGES:
            raise UserError(f"no script is known for language {language!r}; there are {', '.join(sorted(LANGUAGES))}")
        found += LANGUAGES[language]
    return tuple(dict.fromkeys(found))


def wanted(token: bytes, scripts: tuple[str, ...]) -> bool:
    """Whether a token holds nothing but letters of these scripts, digits, punctuation and spaces."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return _fragment(token, scripts)
    return all(_character(c, scripts) for c in text)


@lru_cache(maxsize=1 << 16)
def _character(character: str, scripts: tuple[str, ...]) -> bool:
    if unicodedata.category(character)[0] != "L":
        return True  # digits, marks, punctuation, symbols, spaces
    return unicodedata.name(character, "").startswith(scripts)


def _fragment(token: bytes, scripts: tuple[str, ...]) -> bool:
    """Part of a character: kept where its first byte could begin a letter of these scripts."""
    leads = {lead for script, bytes_ in _LEADS.items() if script in scripts for lead in bytes_}
    return all(byte < 0x80 or byte in leads or byte & 0xC0 == 0x80 for byte in token)
