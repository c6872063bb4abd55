"""Names of languages as prompts write them, by the codes that data sets use."""

from __future__ import annotations

from compress.errors import UserError

NAMES = {
    "ar": "Arabic",
    "arz": "Egyptian Arabic",
    "bg": "Bulgarian",
    "bho": "Bhojpuri",
    "bn": "Bengali",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mas": "Maasai",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sr": "Serbian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
# Pairs that a search accepts: those of the shared tasks.
LANGUAGES = {"en-de": NAMES["de"], "en-zh": NAMES["zh"]}
WITHOUT_SPACES = ("ja", "th", "zh")


def check_language(lang: str) -> str:
    """Refuses a language pair that no shared task on compressed speech translation has."""
    if lang not in LANGUAGES:
        raise UserError(f"unknown language pair '{lang}': known are {', '.join(LANGUAGES)}")
    return lang


def split_pair(lang: str) -> tuple[str, str]:
    """Codes of source and target language. Refuses codes without a name."""
    source, _, target = lang.partition("-")
    unknown = [code for code in (source, target) if code not in NAMES]
    if unknown or source == target:
        raise UserError(
            f"unknown language pair '{lang}': write SOURCE-TARGET such as en-zh, with codes of {', '.join(NAMES)}"
        )
    return source, target
