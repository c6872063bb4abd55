"""The exception for users' mistakes: one line with what is wrong, the value, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """Wrong arguments, or a damaged or hostile file. Command lines print it and exit with 2."""


def first_line(error: BaseException) -> str:
    """The first line of another library's exception, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
