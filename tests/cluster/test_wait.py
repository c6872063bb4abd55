"""`cluster.wait`: what cannot be meant is one line, at once."""

from __future__ import annotations

import pytest

from tests.commands import refused, run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["auto", "x"], "nodes 'x': a whole number is needed"),
        (["auto", "0"], "0 nodes"),
        (["auto", "1", "--seconds", "nan"], "--seconds nan"),
        (["nonsense", "1"], "--address nonsense: write HOST:PORT or auto"),
        (["ray://x:1", "1"], "Ray's client cannot run a search"),
    ],
)
def test_mistakes(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(run("cluster.wait", *arguments, capsys=capsys))
    assert told in error
    assert "usage:" not in error
