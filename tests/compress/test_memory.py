"""Running out of memory: fewer rows, from the beginning, and it is remembered."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from compress.memory import FittingRows


def test_rows_are_halved_until_they_fit_and_remembered() -> None:
    fitting, tried = FittingRows(), list[int]()

    def work(rows: int) -> int:
        tried.append(rows)
        if rows > 5:
            raise torch.OutOfMemoryError("no room")
        return rows * 10

    assert fitting.run(work, 32) == 40
    assert tried == [32, 16, 8, 4]
    tried.clear()
    assert fitting.run(work, 32) == 40
    assert tried == [4]
    assert fitting.run(work, 2) == 20


def test_one_row_that_does_not_fit_is_an_error() -> None:
    def work(rows: int) -> None:
        raise torch.OutOfMemoryError(f"no room for {rows}")

    with pytest.raises(torch.OutOfMemoryError, match="no room for 1"):
        FittingRows().run(work, 8)


def test_tensors_of_the_failed_try_are_gone_before_the_next() -> None:
    class Block:
        pass

    held: list[weakref.ref[Block]] = []

    def work(_: int) -> bool:
        if held:
            return held[0]() is None
        block = Block()
        held.append(weakref.ref(block))
        raise torch.OutOfMemoryError("no room")

    gc.disable()
    try:
        assert FittingRows().run(work, 4)
    finally:
        gc.enable()
