"""What every command line of this library does alike: arguments, one-line errors, exit code 2, no traceback."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse, with its own errors in our one-line form."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"error: {message} (--help shows how)", file=sys.stderr)
        raise SystemExit(2)


def run(main: Callable[[list[str]], int | None], arguments: list[str] | None = None) -> int:
    """Run a command; a UserError, or a place that cannot be written, becomes one line on stderr and exit code 2."""
    try:
        code = main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code or 0
    except UserError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as problem:  # of the file system; anything else is a defect and keeps its traceback
        if problem.filename is None and problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{problem.filename}: " if problem.filename is not None else ""
        print(f"error: {where}{problem.strerror}; mend that or name another place, and give it again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory", file=sys.stderr)
        return 2
    return 0


def progress_line(what: str, every: float = 5.0) -> Callable[[int, int], None]:
    """A line on stderr now and then, with the time left; nothing for work that is done at once."""
    begin = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= every:
            last = now
            left = (now - begin) / done * (total - done)
            print(f"{done} of {total} {what}, about {left:.0f} s left", file=sys.stderr, flush=True)

    return show


def model_folder(name: str) -> Path:
    """A folder; or `embedded`, the small trained model of this repository."""
    if name == "embedded" and not Path(name, "config.json").is_file():
        try:
            from embedded import MODEL
        except ImportError:
            raise UserError("the embedded model is not installed here; give the folder of a model") from None
        return MODEL
    return Path(name)


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Lets a module be called like its function of the same name.

    `compress.pack` is a function of this library and a command, `python -m compress.pack`. Once anything imports the
    command, Python binds its module to that name; a module that can be called makes the order of imports irrelevant.
    """

    class Callable_(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

    sys.modules[name].__class__ = Callable_
