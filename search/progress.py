"""What a person sees while a search runs: one line that is renewed on a terminal, or printed now and then to a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO


class Progress:
    """`update` may be called as often as one likes; it writes at most twice a second (every ten seconds to a log)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.started = time.time()
        self._live = self.stream.isatty()
        self._last = 0.0
        self._width = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self.stream, flush=True)

    def update(self, parts: Callable[[], Sequence[str]], force: bool = False) -> None:
        """The line that is renewed, of as many parts as the terminal has room for; asked for when it is to be shown."""
        now = time.time()
        if not force and now - self._last < (0.5 if self._live else 10.0):
            return
        self._last = now
        line = fitting([f"[{clock(now - self.started)}]", *parts()], self._columns())
        if self._live:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
            self.stream.flush()
        else:
            print(line, file=self.stream, flush=True)

    def _columns(self) -> int:
        """What fits on one line without wrapping, which would leave broken lines behind; no limit for a log."""
        return shutil.get_terminal_size().columns - 1 if self._live else sys.maxsize

    def _clear(self) -> None:
        if self._live and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0


def fitting(parts: Sequence[str], columns: int) -> str:
    """The first part, a space, then the others with bars between them, as many as there is room for."""
    line = parts[0]
    for number, part in enumerate(parts[1:]):
        longer = f"{line} {part}" if not number else f"{line} | {part}"
        if number and len(longer) > columns:
            break
        line = longer
    return line[:columns]


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
