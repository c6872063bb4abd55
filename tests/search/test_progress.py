"""What a person sees: nothing wraps on a terminal, nothing is silent in a log, and what was said stays."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from search import progress as module
from search.progress import Display, Progress, View

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(view: View, columns: int) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=columns, height=24, force_terminal=True, legacy_windows=False)
    console.print(Display(view, time.time()))
    return [CONTROL.sub("", line) for line in stream.getvalue().splitlines()]


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=200)


@given(st.lists(st.tuples(words, words), max_size=6), words, st.integers(0, 10**6), st.integers(20, 200))
def test_no_row_is_wider_than_the_terminal(rows: list[tuple[str, str]], title: str, total: int, columns: int) -> None:
    lines = drawn(View(title, min(3, total), total, "about 1:00 left", rows=tuple(rows)), columns)
    assert max(map(cell_len, lines)) <= columns
    assert len(lines) == 2 + len(rows), "nothing wraps"


def test_at_80_columns_all_of_it_is_there() -> None:
    view = View(
        "phase 7 of 9: iterative pruning",
        112,
        120,
        "about 12:34:56 to the end of the run",
        rows=(
            ("best", "COMET 0.9290 (-0.0452 to the original) at 568,865 bytes"),
            ("worker 0", "c00012 translating, 3 s"),
        ),
    )
    shown = "\n".join(drawn(view, 80))
    for text in (
        "0:00 phase 7 of 9: iterative pruning",
        "112/120",
        "12:34:56",
        "568,865 bytes",
        "c00012 translating, 3 s",
    ):
        assert text in shown


def test_markup_of_a_strangers_name_is_text() -> None:
    shown = "\n".join(drawn(View("t", 0, 0, "", rows=(("worker 0", "[red]x[/red] [link=a]:smile:"),)), 80))
    assert "[red]x[/red] [link=a]:smile:" in shown


def test_a_terminal_gets_a_display_and_keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.update(lambda: View("phase 2 of 9: original", 1, 8, ""), force=True)
        progress.say("[bold]a line that stays")
        progress.update(lambda: View("phase 3 of 9: calibrate", 0, 1, ""), force=True)
    progress.say("after it")
    text = CONTROL.sub("", stream.getvalue())
    assert "[bold]a line that stays" in text
    assert "phase 2 of 9: original" in text
    assert text.rstrip().endswith("after it")
    assert "\x1b[?25h" in stream.getvalue(), "the cursor is there again"


def test_a_log_gets_a_line_now_and_then_and_whole() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    view = View("phase 2 of 9: original", 1, 8, "about 1:00 left", ("x" * 300,), (("worker 0", "idle"),))
    for _ in range(3):
        progress.update(lambda: view)
    assert stream.getvalue().count("phase 2") == 1
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue() == f"[0:00] phase 2 of 9: original 1/8 | about 1:00 left | {'x' * 300}\n"


def test_nothing_is_silent_while_something_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 0.01)
    stream = io.StringIO()
    deadline = time.time() + 30
    with Progress(stream).doing("starting Ray"):
        while stream.getvalue().count("starting Ray, for 0:0") < 2 and time.time() < deadline:
            time.sleep(0.01)
    assert stream.getvalue().splitlines()[0] == "starting Ray, for 0:00 so far"
    monkeypatch.setattr(module, "LOG_EVERY", 60.0)
    stream = io.StringIO()
    with Progress(stream).doing("starting Ray"):
        pass
    assert stream.getvalue() == "", "what takes no time needs no word"
