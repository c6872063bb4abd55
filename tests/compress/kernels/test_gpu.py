"""The kernels for a GPU, compiled for the processor, against the plain torch code."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from compress.kernels import dispatch
from compress.kernels.dispatch import CPU, TORCH, VARIABLE
from compress.kernels.gpu import GpuKernels, gpu_kernels
from tests.compress.kernels.emulated_gpu import COMPILER, emulated
from tests.compress.kernels.test_dispatch import PLAIN, TRELLIS, problem

pytestmark = pytest.mark.skipif(COMPILER is None and "CI" not in os.environ, reason="no C++ compiler")


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> GpuKernels:
    return emulated(tmp_path_factory.mktemp("warp"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, gpu: GpuKernels) -> pytest.MonkeyPatch:
    monkeypatch.setattr(dispatch, "_kernels_of", lambda device: gpu)  # noqa: ARG005
    return monkeypatch


def reference(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, TORCH)
        patch.setattr(dispatch, "_kernels_of", lambda device: None)  # noqa: ARG005
        return dispatch.quantise(arguments[0].clone(), *arguments[1:])  # type: ignore[attr-defined,arg-type]


@pytest.mark.parametrize("plain", [None, 0, 5])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 40), (7, 1), (64, 17), (128, 130), (101, 33)])
def test_one_block_gives_exactly_the_integers_of_the_reference(
    use: pytest.MonkeyPatch, inputs: int, outputs: int, plain: int | None
) -> None:
    columns, upper, steps = problem(inputs, outputs, inputs + outputs)
    cut = plain if plain is None else min(plain, inputs)
    for known in (upper, None):
        one = steps if known is not None else torch.full((inputs,), 0.4)
        mine = dispatch.quantise(columns.clone(), known, one, cut, PLAIN, TRELLIS)
        assert np.array_equal(mine, reference(use, columns, known, one, cut, PLAIN, TRELLIS))


@pytest.mark.parametrize("plain", [None, 0, 40])
def test_several_blocks_differ_in_last_bits_at_the_most(use: pytest.MonkeyPatch, plain: int | None) -> None:
    columns, upper, steps = problem(400, 130, 3)
    mine = dispatch.quantise(columns.clone(), upper, steps, plain, PLAIN, TRELLIS)
    assert (mine == reference(use, columns, upper, steps, plain, PLAIN, TRELLIS)).all(0).mean() >= 0.99


@pytest.mark.parametrize(
    "change",
    [("error * lower[(begin + c) * width + i]", "error * lower[(begin + c) * width + at]"), ("0.25f", "0.26f")],
)
def test_the_comparison_notices_a_spoiled_kernel(
    use: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory, change: tuple[str, str]
) -> None:
    spoiled = emulated(tmp_path, change)  # type: ignore[arg-type]
    use.setattr(dispatch, "_kernels_of", lambda device: spoiled)  # noqa: ARG005
    columns, upper, steps = problem(128, 64, 1)
    mine = dispatch.quantise(columns.clone(), upper, steps, 0, PLAIN, TRELLIS)
    assert not np.array_equal(mine, reference(use, columns, upper, steps, 0, PLAIN, TRELLIS))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 70), (90, 1), (37, 131)])
@pytest.mark.parametrize("plain", [None, 0, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_decoded_values_are_exactly_those_of_the_reference(
    use: pytest.MonkeyPatch, inputs: int, outputs: int, plain: int | None, dtype: torch.dtype
) -> None:
    generator = np.random.default_rng(inputs)
    integers = np.rint(generator.standard_normal((inputs, outputs)) * 2).astype(np.int16)
    integers[0, 0], integers[-1, -1] = 32767, -32768
    steps = np.exp2(generator.uniform(-3, 0, inputs)).astype(np.float32)
    row_steps, scales = (np.exp2(generator.uniform(-9, 0, outputs)).astype(np.float32) for _ in range(2))
    orders = generator.permutation(inputs), generator.permutation(outputs)
    cut = plain if plain is None else min(plain, inputs)
    arguments = (integers, *orders, cut, PLAIN, TRELLIS, steps, row_steps, scales)
    mine = dispatch.decode_columns(*arguments, CPU, dtype)
    use.setattr(dispatch, "_kernels_of", lambda device: None)  # noqa: ARG005
    assert torch.equal(mine, dispatch.decode_columns(*arguments, CPU, dtype))


def test_integers_beyond_sixteen_bits_are_noticed(use: pytest.MonkeyPatch) -> None:
    columns, upper, steps = problem(60, 20, 2)
    columns[3, 4] = 1e6
    for plain in (None, 0):
        with pytest.raises(OverflowError):
            dispatch.quantise(columns.clone(), upper, steps / 10, plain, PLAIN, TRELLIS)
    assert use is not None


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.7])
def test_constant_matrices(use: pytest.MonkeyPatch, value: float) -> None:
    _, upper, steps = problem(130, 20, 2)
    for plain in (None, 0):
        mine = dispatch.quantise(torch.full((130, 20), value), upper, steps, plain, PLAIN, TRELLIS)
        theirs = reference(use, torch.full((130, 20), value), upper, steps, plain, PLAIN, TRELLIS)
        assert np.array_equal(mine, theirs)


def test_a_machine_without_cupy_says_so_in_one_line() -> None:
    kernels, reason = gpu_kernels(0)
    if kernels is None:
        assert reason.startswith("no kernels for the GPU: ")
        assert "\n" not in reason
    else:  # a GPU is here: the same integers on it
        columns, upper, steps = problem(128, 64, 1)
        on_gpu = (columns.cuda(), upper.cuda(), steps.cuda())
        mine = dispatch.quantise(*on_gpu, 0, PLAIN, TRELLIS)
        assert np.array_equal(mine, dispatch.quantise(columns, upper, steps, 0, PLAIN, TRELLIS))
