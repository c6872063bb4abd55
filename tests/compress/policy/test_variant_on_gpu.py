"""Encoding and decoding on a GPU, pretended: the same bytes and weights as on the processor, and no tensor astray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from compress.calibration.hessians import hessian_key, hessians_to_bytes
from compress.calibration.relative_error import RelativeError
from compress.kernels import dispatch
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, UnitEncoder
from tests.compress.kernels.emulated_gpu import COMPILER, emulated
from tests.pretended_gpu import GPU, OnGpu, pretended_gpu

CALIBRATION = "0123"
LEVELS = ["grid@2:trellis", "grid@3", "grid@6:trellis", "nf4", "int8", "digits:2", "rtn:4:g64", "raw:bf16", "raw:fp32"]


def calibrated(store: Store, unit: Unit) -> None:
    """Statistics of a unit, made up."""
    generator = torch.Generator().manual_seed(0)
    widths = sorted({shape[1] for shape in unit.shapes})
    spread = [torch.exp(torch.randn(width, generator=generator)) for width in widths]
    inputs = [torch.randn(2 * len(s), len(s), generator=generator) * s for s in spread]
    groups = [widths.index(shape[1]) for shape in unit.shapes]
    importance = [torch.rand(shape[0], generator=generator) for shape in unit.shapes]
    store.put(hessian_key(CALIBRATION, unit), hessians_to_bytes(groups, [x.T @ x for x in inputs], importance))


@pytest.fixture(scope="module", params=["kernels", "no kernels"])
def on_gpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A GPU for which there are kernels, or none: then weights come to the processor for it."""
    if COMPILER is None and "CI" not in os.environ:
        pytest.skip("no C++ compiler")
    kernels = emulated(tmp_path_factory.mktemp("warp")) if request.param == "kernels" else None
    with mock.patch.object(dispatch, "gpu_kernels", return_value=(kernels, "")):
        yield


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["lm.1.mlp", "embedding"])
def test_a_gpu_gives_the_same(folder: Path, tmp_path: Path, name: str, level: str) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    unit = source.structure.unit(name)
    calibrated(store, unit)
    options = EncodeOptions(calibration=CALIBRATION)
    here = UnitEncoder(source, unit, store, options)
    with pretended_gpu():
        there = UnitEncoder(source, unit, store, options, GPU)
        payload = there.encode(level)
        decoded = there.decode(payload, level, torch.float32)
        assert all(isinstance(weight, OnGpu) for weight in decoded)
        weights = [weight.cpu() for weight in decoded]
        error = RelativeError(there).of(level)
    assert payload == here.encode(level)
    assert all(torch.equal(a, b) for a, b in zip(weights, here.decode(payload, level, torch.float32), strict=True))
    assert error == pytest.approx(RelativeError(here).of(level))


def test_the_pretended_gpu_refuses_what_a_gpu_would() -> None:
    with pretended_gpu():
        x = torch.ones(3, 2).to(GPU)
        assert x.device == GPU
        for wrong in (lambda: x + torch.ones(3, 2), lambda: torch.ones(2, 3) @ x, lambda: torch.stack([x, x.cpu()])):
            with pytest.raises(RuntimeError, match="same device"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        assert (x[1:] * 2).cpu().tolist() == [[2, 2], [2, 2]]
