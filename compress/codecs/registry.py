"""Levels by name: `grid@2.5`, `nf4`, `digits:2`. Users add their own with `register`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from compress.codecs.base import Codec
from compress.errors import UserError

Factory = Callable[[str], Codec]  # takes what stands behind the name, separator included

_FACTORIES: dict[str, Factory] = {}
_FORM = re.compile(r"([a-z][a-z0-9_]*)(.*)", re.DOTALL)


def register(name: str, factory: Factory) -> None:
    """Make `name…` a level. The factory gets the rest of the level (`@2.5`, `:4:g64`, or nothing)."""
    if not _FORM.fullmatch(name) or re.search(r"[^a-z0-9_]", name):
        raise UserError(f"a codec is named by lower-case letters, digits and underscores, not {name!r}")
    _FACTORIES[name] = factory
    codec.cache_clear()


def register_plain(plain: Codec) -> None:
    """Make a codec without settings a level."""

    def factory(settings: str) -> Codec:
        if settings:
            raise UserError(f"unknown level '{plain.level}{settings}'; {plain.level} takes no settings")
        return plain

    register(plain.level, factory)


def names() -> list[str]:
    return sorted(_FACTORIES)


@lru_cache(maxsize=4096)
def codec(level: str) -> Codec:
    """The codec of a level; one line of refusal when there is none."""
    match = _FORM.fullmatch(level) if isinstance(level, str) and len(level) <= 64 else None
    if match is None or match[1] not in _FACTORIES:
        raise UserError(
            f"unknown level {str(level)[:64]!r}; codecs are {', '.join(names())} (such as grid@2.5, digits:2)"
        )
    return _FACTORIES[match[1]](match[2])


def canonical(level: str) -> str:
    """The one spelling of a level (`grid@2.50` is `grid@2.5`)."""
    return codec(level).level
