"""Word segmentation of the grammar's Chinese."""

from __future__ import annotations

import re

from embedded.recipe import lexicon


def _pattern() -> re.Pattern[str]:
    words = {w.zh for table in (lexicon.NOUNS, lexicon.VERBS, lexicon.REPORTING, lexicon.ADJECTIVES) for w in table}
    for phrases in (lexicon.OPENERS, lexicon.ADVERBS, lexicon.PRONOUNS, lexicon.SURNAMES, lexicon.TITLES):
        words |= {p.zh for p in phrases}
    for phrases in (lexicon.FIRST_NAMES, lexicon.CITIES, lexicon.QUANTIFIERS):
        words |= {p.zh for p in phrases}
    words |= {m[3] for m in lexicon.MODALS}
    words |= {"这些", "我们的", "他们的", "因为", "如果", "虽然", "而且", "为什么", "什么时候", "如何"}
    words |= {"百分之", "没有", "来自"}
    return re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)) + "|.")


_PATTERN = _pattern()


def split_chinese(text: str) -> list[str]:
    """The words of a Chinese sentence of the grammar; characters that belong to no word stay single."""
    return _PATTERN.findall(text)
