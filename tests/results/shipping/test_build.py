"""Exporting: the artifact is what the row says, in bytes and in another process, or there is none.

The other process gives what the same work gives in this one, which stands in for it where that is not what is tested.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compress
import embedded
from compress.artifact.recovered import RecoveredSource, RecoveryDelta
from compress.errors import UserError
from results import export
from results.candidate import Candidate
from results.rows.storage import Table
from results.runs import RunView
from results.shipping import build as build_module
from results.shipping.agreement import (
    IN_FLOAT32,
    IN_HALF,
    Agreement,
    check_agreement,
    check_checkpoint,
    compare_with_row,
    tolerances,
)
from results.shipping.build import build
from results.shipping.provenance import about, trained_on
from results.shipping.verify import VerifySettings, verify_in_process
from tests.results.examples import candidate, change_policies
from tests.results.shipped import SEGMENTS, scored_run

Shipped = tuple[Path, Candidate, dict[str, Any]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, embedded_store: compress.Store) -> Shipped:
    return scored_run(tmp_path_factory.mktemp("shipped"), embedded_store)


@pytest.fixture
def no_process(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> list[VerifySettings]:
    """What the other process would be asked; it answers what it did."""
    asked: list[VerifySettings] = []

    def answer(settings: VerifySettings) -> dict[str, Any]:
        asked.append(settings)
        return shipped[2]

    monkeypatch.setattr(build_module, "verify_in_process", answer)
    return asked


def with_row(shipped: Shipped, folder: Path, **changed: object) -> Path:
    """The run with its row changed."""
    run, row, _ = shipped
    shutil.copytree(run, folder)
    for part in (folder / "candidates.parquet").iterdir():
        part.unlink()
    Table(folder / "candidates.parquet").append([replace(row, **changed)])  # type: ignore[arg-type]
    return folder


def variants_of(shipped: Shipped) -> list[str]:
    return ["--store", str(shipped[0].parent / ".store")]


@pytest.mark.slow  # loads torch, the model and COMET afresh
def test_another_process_gives_what_this_one_does(shipped: Shipped) -> None:
    run, row, expected = shipped
    config = {**RunView.open(run).config, "threads": 1}
    settings = VerifySettings.of(config, run.parent / "first", comet=str(embedded.COMET), device="cpu")
    found = verify_in_process(settings)
    assert found["hypotheses"] == list(row.hypotheses) == expected["hypotheses"]
    assert found["comet_segments"] == pytest.approx(row.comet_segments, abs=1e-6)
    assert found["comet"] == expected["comet"]


def test_a_row_becomes_an_artifact(
    shipped: Shipped, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_process: list[VerifySettings]
) -> None:
    run, row = with_row(shipped, tmp_path / "run"), shipped[1]
    out = tmp_path / "c1.art"
    export.main([str(run), *variants_of(shipped), "--select", "best", "--out", str(out), "--device", "cpu"])
    output = capsys.readouterr().out
    assert f"{row.bytes:,} bytes, exactly those of candidate c00001" in output
    assert f"0 of {SEGMENTS} translations differ" in output
    assert f"python -m results.submit {out}" in output
    assert sum(path.stat().st_size for path in out.iterdir()) == row.bytes == compress.inspect(out).total_bytes
    made = json.loads((tmp_path / "c1.art.export.json").read_text())
    (asked,) = no_process
    assert (asked.artifact, asked.device, asked.comet) == (str(out.resolve()), "cpu", str(embedded.COMET))
    assert (asked.spec.data, asked.spec.lang, asked.spec.segments) == ("embedded", "en-zh", SEGMENTS)
    assert made["policy"] == compress.inspect(out).policy
    assert made["scores"]["afresh"]["comet"] == pytest.approx(row.comet, abs=1e-6)
    (tuned,) = made["tuned"]
    assert (tuned["purpose"], tuned["split"], tuned["origin"]) == ("search", "dev", "embedded")
    assert len(tuned["sounds"]) == SEGMENTS
    with pytest.raises(UserError, match="exists already"):
        export.main([str(run), *variants_of(shipped), "--candidate", "c00001", "--out", str(out)])


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bytes": 1_000_000}, "its row says 1,000,000: it was removed"),
        ({"comet_segments": (0.1, 0.1, 0.1, 0.1), "comet": 0.1}, "is not scored as its row was"),
        ({"hypotheses": ("a", "b", "c", "d"), "comet": 0.99}, "does not do what its row says"),
        ({"signature": "metric:comet|digest:000000000000"}, "this COMET is not the one of the row"),
    ],
)
def test_an_artifact_that_is_not_what_its_row_says_does_not_stay(
    shipped: Shipped, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    run = with_row(shipped, tmp_path / "run", **changed)
    with pytest.raises(UserError, match=message):
        export.main(
            [
                str(run),
                *variants_of(shipped),
                "--candidate",
                "c00001",
                "--out",
                str(tmp_path / "c1.art"),
                "--device",
                "cpu",
            ]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_of_another_model(shipped: Shipped, tmp_path: Path) -> None:
    run = with_row(shipped, tmp_path / "run")
    change_policies(run, lambda policy: replace(policy, model="f" * 32))
    with pytest.raises(UserError, match="give the model of the run with --model"):
        export.main([str(run), *variants_of(shipped), "--candidate", "c00001", "--out", str(tmp_path / "c1.art")])


def test_segments_are_compared_one_by_one() -> None:
    row = candidate(comet=0.5, comet_segments=(0.4, 0.6), hypotheses=("a", "b"))
    agreement = compare_with_row(row, ["a", "x"], [0.4, 0.7])
    assert (agreement.differing, agreement.segments, agreement.same_texts_drift) == (1, 2, 0.0)
    assert agreement.difference == pytest.approx(0.05)
    with pytest.raises(UserError, match="was scored on 2 segments, the artifact on 1"):
        compare_with_row(row, ["a"], [0.4])


def test_what_floating_point_explains_passes_and_nothing_else() -> None:
    check_agreement(Agreement(0.5001, 0.5, 2, 100, 1e-6), *IN_FLOAT32)
    check_agreement(Agreement(0.5001, 0.5, 1, 4, 0.0), *IN_FLOAT32)
    check_agreement(Agreement(0.508, 0.5, 12, 64, 0.0), *IN_HALF)
    for wrong in (
        Agreement(0.502, 0.5, 1, 100, 0.0),
        Agreement(0.498, 0.5, 1, 100, 0.0),
        Agreement(0.5, 0.5, 3, 100, 0.0),
        Agreement(0.5, 0.5, 0, 100, 0.01),
    ):
        with pytest.raises(UserError):
            check_agreement(wrong, *IN_FLOAT32)


def test_half_precision_may_differ_more() -> None:
    assert tolerances({"device": "cpu", "gpus_per_worker": -1.0}, "float32") == IN_FLOAT32
    assert tolerances({"device": "cpu"}, "bfloat16") == IN_HALF
    assert tolerances({"device": "cuda"}, "float32") == IN_HALF
    assert tolerances({"device": "cpu", "gpus_per_worker": 0.5}, "float32") == IN_HALF


def test_scores_of_another_checkpoint_are_not_compared() -> None:
    row = candidate(signature="metric:comet|digest:abc|comet:2.2.7")
    check_checkpoint(row, {"digest": "abc", "version": "2.2.7"})
    for other in ({"digest": "abd", "version": "2.2.7"}, {"digest": "abc", "version": "2.2.8"}):
        with pytest.raises(UserError, match="not the one of the row"):
            check_checkpoint(row, other)


def test_a_recovered_candidate_is_exported_with_what_training_changed(
    shipped: Shipped, tmp_path: Path, embedded_store: compress.Store
) -> None:
    """And what it was trained on is part of its provenance."""
    import torch

    run, row, _ = shipped
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    base = compress.Source.open(embedded.MODEL)
    policy = compress.Policy.from_json((run / row.policy).read_text())
    name = base.structure.unquantized[0]
    changed = base.tensor(name) + torch.ones_like(base.tensor(name))
    recovery = RecoveryDelta(
        policy, {name: changed}, about={"train": "embedded", "train_split": "dev", "condition": "c"}
    )
    recovery.save(folder / "recovered" / "c00001+distill")
    source = RecoveredSource(base, recovery)
    path = f"policies/{source.policy.digest}.json"
    (folder / path).write_text(source.policy.to_json())
    nbytes = compress.pack(source, source.policy, embedded_store, tmp_path / "before")
    recovered = replace(row, candidate="c00001+distill", parent="c00001", policy=path, bytes=nbytes, order=2)
    Table(folder / "candidates.parquet").append([recovered, replace(recovered, candidate="../c00001+distill", order=3)])
    opened = RunView.open(folder)
    assert build(opened, recovered, tmp_path / "after", store=variants_of(shipped)[1]) == nbytes
    assert torch.equal(dict(compress.Artifact.open(tmp_path / "after").tensors())[name].float(), changed.float())
    place = opened.recovery(recovered)
    assert place is not None
    trained = trained_on("embedded", place, "en-zh")
    assert trained["purpose"] == "training"
    assert len(trained["sounds"]) > SEGMENTS
    assert about(place)["condition"] == "c"
    assert opened.recovery(opened.find("../c00001+distill")) is None, "never outside of its place"
    with pytest.raises(UserError, match="no recovery of it"):
        build(opened, opened.find("../c00001+distill"), tmp_path / "other", store=variants_of(shipped)[1])
