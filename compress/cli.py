"""What all command lines share: arguments, one-line errors with exit code 2 and no traceback, progress lines."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from compress.errors import UserError, first_line, is_panic, printable

NO_NUMBER = re.compile(r"argument (\S+): invalid (int|float) value: (.*)")
NUMBERS = {"int": "a whole number", "float": "a number"}


class Parser(argparse.ArgumentParser):
    """argparse with its errors in our one-line form."""

    def error(self, message: str) -> None:  # type: ignore[override]
        if match := NO_NUMBER.fullmatch(message):
            message = f"{match[1]} {match[3]}: {NUMBERS[match[2]]} is needed"
        print(f"error: {message} (--help shows how)", file=sys.stderr)
        raise SystemExit(2)


def run(main: Callable[[list[str]], int | None], arguments: list[str] | None = None) -> int:
    """Run a command; a UserError, or a place that cannot be written, becomes one line on stderr and exit code 2."""
    try:
        code = main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code or 0
    except UserError as refusal:
        print(f"error: {printable(str(refusal))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # of the file system; any other is a defect and keeps its traceback
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = printable(f"{error.filename}: ") if error.filename is not None else ""
        print(f"error: {where}{error.strerror}; fix that or give another path, and run it again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory", file=sys.stderr)
        return 2
    except BaseException as error:
        if not is_panic(error):
            raise
        print(
            f"error: the tokenizer or weights of this model are damaged ({printable(first_line(error))})",
            file=sys.stderr,
        )
        return 2
    return 0


def progress_line(items: str, every: float = 5.0) -> Callable[[int, int], None]:
    """A callback (done, total) that prints a line with the time left on stderr, at most once in `every` seconds."""
    begin = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= every:
            last = now
            left = (now - begin) / done * (total - done)
            print(f"{done:,} of {total:,} {items}, about {left:.0f} s left", file=sys.stderr, flush=True)

    return show


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Make a module callable like its function of the same name.

    `compress.pack` is a function of this library and a command, `python -m compress.pack`. Once the command is
    imported, Python binds its module to that name; a callable module works in any order of imports.
    """

    class CallableModule(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

    sys.modules[name].__class__ = CallableModule
