"""The noise of a level: on a sample of the outputs it is nearly that on all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.calibration import relative_error
from compress.calibration.relative_error import RelativeError, energy
from compress.codecs.statistics import Statistics
from compress.model.source import Source
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, UnitEncoder
from tests.compress.policy.test_variant_on_gpu import CALIBRATION, calibrated


@pytest.mark.parametrize("name", ["lm.1.mlp", "embedding"])
@pytest.mark.parametrize("calibration", ["", CALIBRATION])
def test_it_is_what_its_formula_says_and_some_outputs_tell_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, calibration: str
) -> None:
    source, store = Source.open(folder), Store(tmp_path)
    unit = source.structure.unit(name)
    calibrated(store, unit)
    encoder = UnitEncoder(source, unit, store, EncodeOptions(calibration=calibration))
    noise = whole = 0.0
    decoded = encoder.decode(encoder.payload("grid@2"), "grid@2", torch.float32)
    for before, after, known in zip(encoder.weights, decoded, encoder.known, strict=True):
        h = torch.eye(before.shape[1]) if known is None else known.hessian
        g = torch.ones(len(before)) if known is None or known.importance is None else known.importance
        original = before.float()
        whole += float((g * (original @ h * original).sum(1)).sum())
        error = after - original
        noise += float((g * (error @ h * error).sum(1)).sum())
    assert RelativeError(encoder).of("grid@2") == pytest.approx(noise / whole, rel=1e-4)
    monkeypatch.setattr(relative_error, "SAMPLE", max(w.numel() for w in encoder.weights) // 3)
    assert RelativeError(encoder).of("grid@2") == pytest.approx(noise / whole, rel=0.25)


def test_a_diagonal_hessian_needs_no_product() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, diagonal = torch.randn(9, 5, generator=generator), torch.rand(5, generator=generator)
    known = Statistics(torch.diag(diagonal))
    assert known.diagonal is not None
    assert energy(matrix, known) == pytest.approx(float((matrix @ torch.diag(diagonal) * matrix).sum()))
    assert Statistics(torch.ones(5, 5)).diagonal is None
