"""README, docs and the newcomer's steps agree: no command is printed that nobody runs, none is run unprinted."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.newcomer.documented import commands_of, documented
from tests.newcomer.steps import STEPS


def test_every_documented_command_has_a_step_and_every_step_is_documented() -> None:
    printed, steps = {each.command: each.page for each in documented()}, {step.printed for step in STEPS}
    assert not {command: page for command, page in printed.items() if command not in steps}, "not in steps.py"
    assert not steps - printed.keys(), "in steps.py, and on no page any more"
    assert max(Counter(step.printed for step in STEPS).values()) == 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.printed[:60])
def test_what_is_run_has_no_placeholder_left(step: object) -> None:
    for command in step.commands:  # type: ignore[attr-defined]
        assert not any(mark in command for mark in ("NAME", "FOLDER", "DIR", "[", "...", "…", "Qwen/", "/data/"))


def test_commands_are_found_in_blocks_sentences_and_tables() -> None:
    page = (
        "Use `make search` or `pip install x`.\n\n| `python -m a.b --x 1\\|2` | y |\n\n"
        "```\npython -m c \\\n    --d 1   # why\nls\n```\n\n    ray stop  # end\n\n```python\nmake = 1\n```\n"
    )
    assert commands_of(page) == ["make search", "python -m a.b --x 1|2", "python -m c --d 1", "ray stop"]
