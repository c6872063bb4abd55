"""Memory: how much is free, and what to do when a GPU runs out of it: the same work on fewer rows at once, and remember
how many fitted."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def free_memory() -> int:
    """Bytes of main memory that are free, 0 where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


class FittingRows:
    """How many rows one kind of work takes at once. `rows` is None until memory has run out."""

    def __init__(self) -> None:
        self.rows: int | None = None

    def limit(self, rows: int) -> int:
        """So many of `rows` at once."""
        return rows if self.rows is None else min(rows, self.rows)

    def run(self, work: Callable[[int], T], rows: int) -> T:
        """`work(n)`, at most `rows` rows at once; with half as many whenever it runs out of memory, down to one.

        What `work` did before it ran out is lost: it starts from the beginning.
        """
        while True:
            now = self.limit(rows)
            try:
                return work(now)
            except torch.OutOfMemoryError as error:
                if now <= 1:
                    raise
                # Not freed in here: the traceback of the error still holds the tensors.
                error.__traceback__ = None
            self.rows = now // 2
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
