"""The compiled kernels against the plain torch code: integers, decoded values, bad numbers, and who is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.codecs.grid.feedback import factor
from compress.errors import UserError
from compress.kernels import dispatch
from compress.kernels.dispatch import NUMBA, TORCH, VARIABLE
from tests.forked import output_of

pytestmark = pytest.mark.skipif(dispatch.kernels() != NUMBA, reason=dispatch.numba_kernels()[1] or "numba is not used")
PLAIN, TRELLIS = (0.02, 0.06), (0.02, 0.05, 0.03)


def problem(inputs: int, outputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns in order, U, and the steps that go with it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * inputs, inputs, generator=generator) * torch.exp(torch.randn(inputs, generator=generator))
    known = factor(x.T @ x)
    return torch.randn(inputs, outputs, generator=generator), known.upper, 0.7 * known.relative[known.order]


def both(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> list[np.ndarray]:
    results = []
    for name in (NUMBA, TORCH):
        monkeypatch.setenv(VARIABLE, name)
        results.append(dispatch.quantise(arguments[0].clone(), *arguments[1:]))
    monkeypatch.delenv(VARIABLE)
    return results


@pytest.mark.parametrize("plain", [None, 0, 5])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 40), (7, 1), (64, 17), (128, 130), (101, 300)])
def test_one_block_gives_exactly_the_integers_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, inputs: int, outputs: int, plain: int | None
) -> None:
    columns, upper, steps = problem(inputs, outputs, inputs + outputs)
    cut = plain if plain is None else min(plain, inputs)
    for known in (upper, None):
        one = steps if known is not None else torch.full((inputs,), 0.4)
        compiled, reference = both(monkeypatch, columns, known, one, cut, PLAIN, TRELLIS)
        assert compiled.dtype == np.int16
        assert np.array_equal(compiled, reference)


@pytest.mark.parametrize("plain", [None, 0, 40])
def test_several_blocks_differ_in_last_bits_at_the_most(monkeypatch: pytest.MonkeyPatch, plain: int | None) -> None:
    columns, upper, steps = problem(500, 260, 3)
    compiled, reference = both(monkeypatch, columns, upper, steps, plain, PLAIN, TRELLIS)
    assert (compiled == reference).all(0).mean() >= 0.99


def test_the_comparison_notices_a_spoiled_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, upper, steps = problem(128, 64, 1)
    compiled, _ = both(monkeypatch, columns, upper, steps, 0, PLAIN, TRELLIS)
    _, reference = both(monkeypatch, columns, upper, steps, 0, PLAIN, (0.02, 0.05, 0.04))
    assert not np.array_equal(compiled, reference)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, upper, steps = problem(300, 700, 5)
    results = []
    for count in (1, 3):
        monkeypatch.setattr(dispatch, "threads", lambda count=count: count)
        results.append(dispatch.quantise(columns.clone(), upper, steps, 10, PLAIN, TRELLIS))
    assert np.array_equal(results[0], results[1])


@given(st.integers(1, 300), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_slices_cover_everything_once(count: int, threads: int) -> None:
    seen = np.zeros(count, int)

    def work(begin: int, end: int) -> None:
        seen[begin:end] += 1

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        dispatch.in_threads(count, work, 16)
    finally:
        torch.set_num_threads(before)
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [3e4, 1e6, 1e30])
def test_integers_beyond_sixteen_bits_are_noticed(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """The kernels would let them wrap, so what might not fit goes to the reference."""
    columns, upper, steps = problem(60, 20, 2)
    columns[3, 4] = size
    for plain in (None, 0):
        for name in (NUMBA, TORCH):
            monkeypatch.setenv(VARIABLE, name)
            with pytest.raises(OverflowError):
                dispatch.quantise(columns.clone(), upper, steps / 10, plain, PLAIN, TRELLIS)


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.7])
def test_constant_matrices(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    _, upper, steps = problem(130, 20, 2)
    for plain in (None, 0):
        compiled, reference = both(monkeypatch, torch.full((130, 20), value), upper, steps, plain, PLAIN, TRELLIS)
        assert np.array_equal(compiled, reference)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 300), (300, 1), (37, 131), (200, 128)])
@pytest.mark.parametrize("plain", [None, 0, 20])
def test_decoded_values_are_exactly_those_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, inputs: int, outputs: int, plain: int | None
) -> None:
    generator = np.random.default_rng(inputs)
    integers = np.rint(generator.standard_normal((inputs, outputs)) * 2).astype(np.int16)
    integers[0, 0], integers[-1, -1] = 32767, -32768
    steps = np.exp2(generator.uniform(-3, 0, inputs)).astype(np.float32)
    row_steps, scales = (np.exp2(generator.uniform(-3, 0, outputs)).astype(np.float32) for _ in range(2))
    orders = generator.permutation(inputs), generator.permutation(outputs)
    cut = plain if plain is None else min(plain, inputs)
    results = []
    for name in (NUMBA, TORCH):
        monkeypatch.setenv(VARIABLE, name)
        columns = dispatch.decode_columns(integers, *orders, cut, PLAIN, TRELLIS, steps, row_steps, scales)
        flat = dispatch.decode_flat(integers.reshape(-1), PLAIN, 0.37)
        results.append((columns.numpy(), flat.numpy()))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_unknown_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fortran")
    with pytest.raises(UserError, match="COMPRESS_KERNELS is 'fortran'; known are cuda, numba and torch"):
        dispatch.kernels()


DESCRIBE = "from compress.kernels import dispatch; print(dispatch.describe())"


@pytest.mark.slow
def test_without_a_cache_folder_they_are_compiled_all_the_same() -> None:
    """A cache that cannot be written is not a mistake."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": "/proc/nowhere", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", DESCRIBE], env=environment, capture_output=True, text=True)
    assert done.stdout == "numba\n", done.stdout + done.stderr


def test_a_machine_without_numba_does_without(tmp_path: Path) -> None:
    told = output_of("import sys; sys.modules['numba'] = None; " + DESCRIBE, tmp_path)
    assert told.startswith("torch (numba does not work here")
