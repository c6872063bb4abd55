"""COMET in its process: the same scores as `predict`, each text scored once, restarted if it dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import embedded
from compress.errors import UserError
from evaluate.data.open import open_data
from evaluate.metrics.comet import Comet
from tests.needs import comet_in_this_process


@pytest.fixture(scope="module")
def comet() -> Iterator[Comet]:
    scorer = Comet(str(embedded.COMET), threads=1)
    yield scorer
    scorer.close()


@comet_in_this_process
def test_scores_equal_predict(comet: Comet) -> None:
    from evaluate.metrics.comet_server import load

    data = open_data("embedded", "dev", "en-de").first(12)
    hypotheses = [text if n % 3 else data.references[n - 1] for n, text in enumerate(data.references)]
    scores = comet.score(data.sources, hypotheses, data.references)
    model = load(Path(embedded.COMET))
    samples = [{"src": s, "mt": m, "ref": r} for s, m, r in zip(data.sources, hypotheses, data.references, strict=True)]
    expected = model.predict(samples, batch_size=64, gpus=0, progress_bar=False, num_workers=0).scores
    assert scores == pytest.approx(expected, abs=1e-6)
    assert scores[1] > scores[0]


def test_scores_do_not_depend_on_what_they_are_asked_with_to_the_last_bit(comet: Comet) -> None:
    data = open_data("embedded", "dev", "en-de").first(20)
    hypotheses = [text[: 5 + 3 * n] for n, text in enumerate(data.references)]
    triples = list(zip(data.sources, hypotheses, data.references, strict=True))
    comet.forget()
    together = comet.score(data.sources, hypotheses, data.references)
    comet.forget()
    assert [comet.score([s], [h], [r])[0] for s, h, r in reversed(triples)] == together[::-1]
    comet.forget()
    part = slice(7, 12)
    assert comet.score(data.sources[part], hypotheses[part], data.references[part]) == together[part]


def test_other_kinds_of_metric_go_through_predict() -> None:
    from evaluate.metrics.comet_server import Embedder

    class RegressionMetric:
        def requires_references(self) -> bool:
            return True

    class UnifiedMetric(RegressionMetric):
        pass

    assert Embedder.supports(RegressionMetric())
    assert not Embedder.supports(UnifiedMetric())


def test_nothing_is_scored_twice(comet: Comet) -> None:
    before = comet.hits
    source, hypothesis, reference = ["We test it."], ["Wir testen es."], ["Wir testen es."]
    first = comet.score(source, hypothesis, reference)
    again = comet.score(source * 3, hypothesis * 3, reference * 3)
    assert again == first * 3
    assert comet.hits == before + 3


@pytest.mark.slow  # loads it again; test_comet_process does this with a process that stands in for it
def test_a_process_that_dies_is_started_again(comet: Comet) -> None:
    old = comet.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    assert len(comet.score(["Fresh text."], ["Neuer Text."], ["Neuer Text."])) == 1
    assert comet.pid not in (None, old)


def test_identity_names_checkpoint_and_version(comet: Comet) -> None:
    assert comet.identity.version.startswith("2.")
    assert len(comet.identity.digest) == 12


@pytest.mark.parametrize("name", ["/not/there.ckpt", "nowhere"])
def test_a_path_that_is_no_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"COMET: {name} is neither"):
        Comet(name)


@comet_in_this_process
def test_a_folder_without_a_checkpoint_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    from evaluate.metrics.comet_server import serve

    with pytest.raises(UserError, match="holds no checkpoints"):
        Comet(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt").write_bytes(b"nothing")
    (tmp_path / "hparams.yaml").write_text("x: 1\n")
    with pytest.raises(ValueError, match="is no COMET checkpoint"):
        serve(str(tmp_path), 1, 0, answers=None)


def test_a_hub_name_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluate.metrics.comet_server import find_checkpoint

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="download it where there is a network"):
        find_checkpoint("Unbabel/wmt22-comet-da")


@comet_in_this_process
def test_half_precision_agrees_to_a_thousandth() -> None:
    """And what is too large for 16 bits is embedded again in 32."""
    import torch
    from comet.models import RegressionMetric

    from evaluate.metrics.comet_server import Embedder, find_checkpoint, load

    data = open_data("embedded", "dev", "en-zh").first(24)
    hypotheses = [*data.references[1:], data.references[0]]
    samples = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(data.sources, hypotheses, data.references, strict=True)
    ]
    path = find_checkpoint(str(embedded.COMET)).resolve()
    exact = Embedder(load(path), 8, 0, half=False).predict(samples)
    model: RegressionMetric = load(path)
    embedder = Embedder(model, 8, 0, half=True)
    assert next(model.encoder.parameters()).dtype == torch.float16
    scores = embedder.predict(samples)
    assert scores != exact
    assert max(abs(a - b) for a, b in zip(scores, exact, strict=True)) < 1e-3
    assert max(exact) - min(exact) > 0.1

    # The last layer's outputs overflow in 16 bits; the vectors are finite all the same.
    layer = list(model.encoder.model.encoder.layer)[-1].output
    layer.LayerNorm.weight.data = (layer.LayerNorm.weight.data.float() * 3e4).half()
    assert all(torch.isfinite(vector).all() for vector in embedder._embed(list(data.sources)))


class Evil:
    """What runs a program when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("forced", ["0", "1"])
def test_a_checkpoint_is_weights_and_nothing_else(tmp_path: Path, forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the environment asks for all that a pickle can hold."""
    shutil.copytree(embedded.COMET.parent.parent, tmp_path / "comet")
    path = tmp_path / "comet" / "checkpoints" / "model.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["extra"] = Evil(str(tmp_path / "ran"))
    torch.save(content, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    with pytest.raises(UserError, match=r"is no COMET checkpoint \(UnpicklingError: Weights only load failed"):
        Comet(str(tmp_path / "comet")).identity  # noqa: B018
    assert not (tmp_path / "ran").exists()
