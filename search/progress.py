"""What a person sees while a search runs: one line that is renewed on a terminal, or printed now and then to a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
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

    def update(self, text: str | Callable[[], str], force: bool = False) -> None:
        """The line that is renewed; a function is only called when it is time to show it."""
        now = time.time()
        if not force and now - self._last < (0.5 if self._live else 10.0):
            return
        self._last = now
        line = f"[{clock(now - self.started)}] {text() if callable(text) else text}"
        if self._live:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
            self.stream.flush()
        else:
            print(line, file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._live and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
