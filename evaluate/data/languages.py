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
# ISO 639-3, which some shared tasks write, for the codes above.
THREE_LETTERS = {
    "ara": "ar",
    "arz": "arz",
    "ben": "bn",
    "bho": "bho",
    "bul": "bg",
    "ces": "cs",
    "dan": "da",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "est": "et",
    "fas": "fa",
    "fin": "fi",
    "fra": "fr",
    "heb": "he",
    "hin": "hi",
    "hun": "hu",
    "ind": "id",
    "isl": "is",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "lav": "lv",
    "lit": "lt",
    "mas": "mas",
    "nld": "nl",
    "nor": "no",
    "pol": "pl",
    "por": "pt",
    "ron": "ro",
    "rus": "ru",
    "slk": "sk",
    "spa": "es",
    "srp": "sr",
    "swe": "sv",
    "tha": "th",
    "tur": "tr",
    "ukr": "uk",
    "vie": "vi",
    "zho": "zh",
}
REGIONAL = {"ara_EG": "arz", "ar_EG": "arz"}  # a region that has a name of its own here
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


def short_pair(pair: str) -> str:
    """`cs-de` from how shared tasks write it too: `ces-deu`, `eng-zho_Hans`, `en-ar_EG`."""
    source, dash, target = pair.partition("-")
    codes = [_short(each) for each in (source, target)]
    if not dash or None in codes:
        raise UserError(f"unknown language pair '{pair}': write cs-de or ces-deu; known are {', '.join(NAMES)}")
    short = "-".join(map(str, codes))
    split_pair(short)
    return short


def _short(code: str) -> str | None:
    if code in REGIONAL:
        return REGIONAL[code]
    plain = code.partition("_")[0]
    return THREE_LETTERS.get(plain, plain if plain in NAMES else None)
