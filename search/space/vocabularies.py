"""Which vocabularies a search chooses from: what was asked for, and what the model's tokenizer allows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import compress
from compress.errors import UserError
from compress.model.vocabulary import FULL, make_top_vocabulary, trimmed_vocabulary
from evaluate.decoding.prompts import prompt, text_prompt
from search.config import Config

TOP = re.compile(r"top:[1-9]\d{0,7}")
SCRAP = "memory://vocabularies"  # a store for who only wants to know


def scripts(lang: str) -> str:
    """The vocabulary of the scripts of a language pair: `scripts:en,zh`."""
    return f"scripts:{lang.replace('-', ',')}"


def parse(told: str | None, lang: str, texts: str) -> tuple[str, ...]:
    """--vocabulary as names, the whole one first; none where nothing was said."""
    if told is None:
        if texts:
            raise UserError("--vocabulary-texts goes with --vocabulary top:N")
        return ()
    names = list(dict.fromkeys(told.split(",")))
    tops = sorted((name for name in names if TOP.fullmatch(name)), key=lambda name: -int(name[4:]))
    if unknown := [name for name in names if name not in (FULL, "scripts", *tops)]:
        raise UserError(f"--vocabulary {told}: '{unknown[0]}' is none of full, scripts and top:N")
    if tops and not texts:
        raise UserError(f"--vocabulary {tops[0]}: add --vocabulary-texts FILE, whose most used tokens stay")
    if texts and not tops:
        raise UserError("--vocabulary-texts goes with --vocabulary top:N")
    return (*([FULL] if FULL in names else []), *([scripts(lang)] if "scripts" in names else []), *tops)


def settle(
    config: Config, source: compress.Source, frozen: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    """The names that policies know them by, how many tokens each keeps, and a line to say.

    Where nothing was asked for: the whole vocabulary, and the scripts of the language pair if that is fewer tokens.
    What was asked for and cannot be had is refused.
    """
    whole = source.structure.vocabulary
    found: dict[str, int] = {}
    told: list[str] = []
    for asked in config.vocabulary or (FULL, scripts(config.lang)):
        if asked == FULL:
            found[FULL] = whole
            continue
        try:
            name, kept = _trimmed(asked, config, source, frozen)
        except UserError as refusal:
            if config.vocabulary:
                raise UserError(f"--vocabulary {asked}: {refusal}") from None
            told.append(f"{asked} is left out: {refusal}")
            continue
        if kept < whole:
            found[name] = kept
        else:
            told.append(f"{asked} keeps all of them")
            found = {FULL: whole, **found}
    names = ", ".join(f"{name} ({count:,} tokens)" for name, count in found.items())
    return tuple(found), tuple(found.values()), "; ".join([names, *told])


def _trimmed(asked: str, config: Config, source: compress.Source, frozen: Sequence[str]) -> tuple[str, int]:
    """A smaller vocabulary's full name, and how many tokens it keeps."""
    held = [unit for unit in frozen if source.structure.unit(unit).kind in ("embedding", "head")]
    if held:
        raise UserError(f"--freeze keeps {held[0]} as it is, and with it the whole vocabulary")
    store = compress.Store(SCRAP)
    name = make_top_vocabulary(source, _lines(config), int(asked[4:]), store) if TOP.fullmatch(asked) else asked
    smaller = trimmed_vocabulary(source, name, store)
    assert smaller is not None
    return name, len(smaller.ids)


def keep(config: Config, source: compress.Source, store: compress.Store) -> None:
    """Lays the vocabularies that are counted in a text where every worker finds them."""
    for name in config.vocabulary:
        if name.startswith("top:"):
            make_top_vocabulary(source, _lines(config), int(name.split(":")[1]), store)


def _lines(config: Config) -> list[str]:
    """The lines of the texts, and as often the prompt: each translation begins with it, and a prompt in pieces it was
    never trained on costs a model dearly."""
    try:
        lines = Path(config.vocabulary_texts).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {config.vocabulary_texts} as text ({error})") from None
    if config.data.startswith("text:"):
        return lines + [text_prompt(config.lang, "", chat) for chat in (False, True) for _ in lines]
    return lines + [prompt(config.lang, config.chat)] * len(lines)
