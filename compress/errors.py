"""The exception for users' mistakes: one line with what is wrong, the value, and what to do."""

from __future__ import annotations

import json
from typing import Any


class UserError(Exception):
    """Wrong arguments, or a damaged or hostile file. Command lines print it and exit with 2."""


def parse_json(text: str | bytes, complaint: str) -> Any:
    """A JSON value; a UserError with this complaint where the text is not JSON, is nested too deep, or holds half of a
    surrogate pair, which no file could be written with."""
    try:
        value = json.loads(text)
        if (b"\\ud" if isinstance(text, bytes) else "\\ud") in text.lower():  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError):
        raise UserError(complaint) from None


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust (tokenizers, safetensors) gave up: what it raises is no Exception."""
    return type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """The first line of another library's exception, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would obey: escapes, carriage returns and the like become codes."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
