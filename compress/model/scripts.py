"""Which tokens a set of languages needs, by script alone, without looking at any text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from compress.errors import UserError

_LATIN, _HAN = ("LATIN", "FULLWIDTH LATIN"), ("CJK", "KANGXI", "IDEOGRAPHIC")
_LATIN_LANGUAGES = "cs da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl sv tr vi"
# By language: how the Unicode names of its letters begin.
SCRIPTS_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LATIN_LANGUAGES.split(), _LATIN),
    "zh": _HAN,
    "ja": (*_HAN, "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"),
    "ko": ("HANGUL", *_HAN),
    **dict.fromkeys(["ar", "arz", "fa", "ur"], ("ARABIC",)),
    **dict.fromkeys(["ru", "uk", "bg", "sr"], ("CYRILLIC",)),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    **dict.fromkeys(["hi", "bho"], ("DEVANAGARI",)),
    "bn": ("BENGALI",),
    "ta": ("TAMIL",),
    "th": ("THAI",),
}
# First UTF-8 bytes of the letters of a script, for tokens that hold only part of a character.
_LEAD_BYTES = {
    "LATIN": range(0xC3, 0xC6),
    "CJK": range(0xE3, 0xEA),
    "HANGUL": range(0xEA, 0xEE),
    "CYRILLIC": (0xD0, 0xD1),
}


def script_prefixes(languages: Iterable[str]) -> tuple[str, ...]:
    """How the Unicode names of the letters of these languages begin."""
    names: list[str] = []
    for language in languages:
        if language not in SCRIPTS_OF:
            raise UserError(f"no script is known for language {language!r}; there are {', '.join(sorted(SCRIPTS_OF))}")
        names += SCRIPTS_OF[language]
    return tuple(dict.fromkeys(names))


def uses_only_scripts(token: bytes, scripts: tuple[str, ...]) -> bool:
    """Whether a token holds nothing but letters of these scripts, digits, punctuation and spaces."""
    try:
        return all(_is_of_scripts(c, scripts) for c in token.decode())
    except UnicodeDecodeError:  # only part of a character: by its first byte
        leads = {lead for script, bytes_ in _LEAD_BYTES.items() if script in scripts for lead in bytes_}
        return all(byte < 0x80 or byte in leads or byte & 0xC0 == 0x80 for byte in token)


@lru_cache(maxsize=1 << 16)
def _is_of_scripts(character: str, scripts: tuple[str, ...]) -> bool:
    if unicodedata.category(character)[0] != "L":
        return True  # digits, marks, punctuation, symbols, spaces
    return unicodedata.name(character, "").startswith(scripts)
