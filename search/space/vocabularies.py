"""Which vocabularies a search chooses from: those of --vocabulary, or what the model's tokenizer allows."""

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
SCRATCH_STORE = "memory://vocabularies"  # where only the name and the number of tokens are wanted


def scripts(lang: str) -> str:
    """The vocabulary of the scripts of a language pair: `scripts:en,zh`."""
    return f"scripts:{lang.replace('-', ',')}"


def parse(option: str | None, lang: str, texts: str) -> tuple[str, ...]:
    """--vocabulary as names, the full one first, then from large to small; empty where the option is missing."""
    if option is None:
        if texts:
            raise UserError("--vocabulary-texts goes with --vocabulary top:N")
        return ()
    names = list(dict.fromkeys(option.split(",")))
    tops = sorted((name for name in names if TOP.fullmatch(name)), key=lambda name: -int(name[4:]))
    if unknown := [name for name in names if name not in (FULL, "scripts", *tops)]:
        raise UserError(f"--vocabulary {option}: '{unknown[0]}' is none of full, scripts and top:N")
    if tops and not texts:
        raise UserError(f"--vocabulary {tops[0]}: add --vocabulary-texts FILE, whose most used tokens stay")
    if texts and not tops:
        raise UserError("--vocabulary-texts goes with --vocabulary top:N")
    return (*([FULL] if FULL in names else []), *([scripts(lang)] if "scripts" in names else []), *tops)


def resolve(
    config: Config, source: compress.Source, frozen: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    """The names that policies use, how many tokens each keeps, and a message.

    Without --vocabulary: the full vocabulary, and the scripts of the language pair if that is fewer tokens. A
    vocabulary of --vocabulary that cannot be made is refused.
    """
    full = source.structure.vocabulary
    tokens: dict[str, int] = {}
    notes: list[str] = []
    for requested in config.vocabulary or (FULL, scripts(config.lang)):
        if requested == FULL:
            tokens[FULL] = full
            continue
        try:
            name, count = _trimmed(requested, config, source, frozen)
        except UserError as error:
            if config.vocabulary:
                raise UserError(f"--vocabulary {requested}: {error}") from None
            notes.append(f"{requested} is left out: {error}")
            continue
        if count < full:
            tokens[name] = count
        else:
            notes.append(f"{requested} keeps all of them")
            tokens = {FULL: full, **tokens}
    names = ", ".join(f"{name} ({count:,} tokens)" for name, count in tokens.items())
    return tuple(tokens), tuple(tokens.values()), "; ".join([names, *notes])


def _trimmed(requested: str, config: Config, source: compress.Source, frozen: Sequence[str]) -> tuple[str, int]:
    """A smaller vocabulary's full name, and how many tokens it keeps."""
    untrimmable = [unit for unit in frozen if source.structure.unit(unit).kind in ("embedding", "head")]
    if untrimmable:
        raise UserError(f"--freeze keeps {untrimmable[0]} as it is, and with it the whole vocabulary")
    store = compress.Store(SCRATCH_STORE)
    name = requested
    if requested.startswith("top:"):
        name = make_top_vocabulary(source, _lines(config), int(requested.split(":")[1]), store)
        if not TOP.fullmatch(requested) and name != requested:  # that of a run which is resumed
            raise UserError(f"{config.vocabulary_texts} holds other tokens than when the run was begun: give that text")
    smaller = trimmed_vocabulary(source, name, store)
    assert smaller is not None
    return name, len(smaller.ids)


def store_counted(config: Config, source: compress.Source, store: compress.Store) -> None:
    """Puts the `top:N` vocabularies of a run into the store, where every worker reads them."""
    for name in config.vocabulary:
        if name.startswith("top:"):
            make_top_vocabulary(source, _lines(config), int(name.split(":")[1]), store)


def _lines(config: Config) -> list[str]:
    """The lines of the texts, and the prompt once for each: every translation begins with it, and a prompt in tokens
    that it was not trained on costs a model much quality."""
    try:
        lines = Path(config.vocabulary_texts).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {config.vocabulary_texts} as text ({error})") from None
    if config.data.startswith("text:"):
        return lines + [text_prompt(config.lang, "", chat) for chat in (False, True) for _ in lines]
    return lines + [prompt(config.lang, config.chat)] * len(lines)
