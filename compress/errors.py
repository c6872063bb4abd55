"""The one exception a user is meant to see: what is wrong, with the value, and what to do, in one line."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked for, or damaged or hostile input. Command lines print it and exit with 2."""


def first_line(error: BaseException) -> str:
    """The first line of what someone else's exception says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
