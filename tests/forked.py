"""New processes in a fraction of a second.

They are forked from one that has imported libraries and none of our modules: to these a child is a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LIBRARIES = ["torch", "transformers.models.qwen2_audio.modeling_qwen2_audio", "numba", "numcodecs", "pyarrow.parquet"]
LIBRARIES += ["pytest", "hypothesis"]  # of the test modules that hold the functions
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(LIBRARIES)


def start(function: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Calls a function of a module in a new process."""
    process = _CONTEXT.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def _execute(program: str, folder: str, said: str) -> None:
    os.chdir(folder)
    with open(said, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        try:
            exec(program, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc(file=stream)
            raise


def output_of(program: str, folder: Path) -> str:
    """What a program prints that runs in a folder, and ends well."""
    said = folder / "said.txt"
    process = start(_execute, program, str(folder), str(said))
    process.join(120)
    output = said.read_text(encoding="utf-8")
    assert process.exitcode == 0, output
    return output
