"""What a person sees while a search runs: a display that is renewed on a terminal, or a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

LIVE_EVERY, LOG_EVERY = 0.5, 10.0  # seconds


@dataclass(frozen=True)
class View:
    """Where a run is. On a terminal `title` stands beside a bar, and below it `rows`, each with its label; a log gets
    `parts` in one line."""

    title: str
    done: int
    total: int
    left: str
    parts: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


@dataclass
class Display:
    """A View as rich draws it: the time that has passed and the spinner go on between two views."""

    view: View
    started: float
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def __rich_console__(self, _console: Console, _options: Any) -> Iterator[Any]:
        view = self.view
        head = Table.grid(padding=(0, 1))
        for _ in range(4):
            head.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=view.total, completed=view.done, width=20) if view.total else Text("")
        count = f"{view.done}/{view.total}" if view.total else ""
        head.add_row(self.spinner, Text(f"{clock(time.time() - self.started)} {view.title}"), bar, Text(count))
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for label, text in (*([("left", view.left)] if view.left else []), *view.rows):
            table.add_row(Text(f"  {label}"), Text(text))
        yield Group(head, table)


class Progress:
    """`update` may be called as often as one likes; it shows something at most twice a second (a log: every ten)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.started = time.time()
        self._last = 0.0
        self._console = Console(file=self.stream, highlight=False, emoji=False, markup=False)
        self._live: Live | None = None
        self._terminal = self.stream.isatty() and not self._console.is_dumb_terminal

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, text: str) -> None:
        """A line that stays, above the display."""
        if self._live is None:
            print(text, file=self.stream, flush=True)
        else:
            self._console.print(Text(text), soft_wrap=True)

    def update(self, view_of: Callable[[], View], force: bool = False) -> None:
        now = time.time()
        if not force and now - self._last < (LIVE_EVERY if self._terminal else LOG_EVERY):
            return
        self._last = now
        view = view_of()
        if self._terminal:
            self._show(view)
        else:
            print(self._line(view), file=self.stream, flush=True)

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """While something takes its time that says nothing itself: nobody is left without a word for ten seconds. A log
        has no word of what takes less, so that a mistake that is found meanwhile is one line."""
        if self._terminal:
            self._show(View(what, 0, 0, ""))
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._remind, args=(what, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        """Takes the display away; what was said stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _remind(self, what: str, ended: threading.Event) -> None:
        began = time.monotonic()
        while not ended.wait(LOG_EVERY):
            self.say(f"{what}, for {clock(time.monotonic() - began)} so far")

    def _show(self, view: View) -> None:
        display = Display(view, self.started)
        if self._live is None:
            self._live = Live(display, console=self._console, transient=True, vertical_overflow="crop")
            self._live.start()
        else:
            self._live.update(display)

    def _line(self, view: View) -> str:
        count = [f"{view.done}/{view.total}"] if view.total else []
        left = [view.left] if view.left else []
        parts = [f"{view.title} {''.join(count)}".strip(), *left, *view.parts]
        return f"[{clock(time.time() - self.started)}] {' | '.join(parts)}"


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
