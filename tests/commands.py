"""Command lines as `python -m MODULE …` runs them, in this process."""

from __future__ import annotations

import runpy
import sys

import pytest


def run(module: str, *arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code, and what is written to standard output and standard error."""
    before = sys.argv
    sys.argv = [module, *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, captured.out, captured.err


def refused(result: tuple[int, str, str]) -> str:
    """The one line of a mistake."""
    code, _, err = result
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err
