"""A worker: whatever was done in between, the same policy gives the same translations and scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import embedded
from cluster import jobs
from cluster.jobs import DROP, LEVEL, TRIM, Context
from cluster.pool import WorkerActor
from cluster.worker import Worker
from compress.calibration.relative_error import RelativeError
from compress.errors import UserError
from compress.policy.recipes import original_policy
from compress.policy.variant import EncodeOptions, UnitEncoder, encode_unit
from evaluate.spec import EvalSpec


def right(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:  # noqa: ARG001
    """Stands in for the scorer actor: 1 for a right translation, 0 for another."""
    return [float(h == r) for h, r in zip(hypotheses, references, strict=True)]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    context = Context(
        model=str(embedded.MODEL),
        store=str(tmp_path_factory.mktemp("store")),
        spec=EvalSpec("embedded", "dev", "en-de", segments=4, batch_size=4, max_new_tokens=40),
        sense_segments=3,
        part=(1, 3),
        scorers=(),
        device="cpu",
        threads=1,
    )
    return Worker(context, right)


def last(worker: Worker, job: dict[str, Any]) -> dict[str, Any]:
    """What a worker reports at the last rung."""
    return list(worker.run(job))[-1]


@pytest.fixture(scope="module")
def said(worker: Worker) -> str:
    """The key of the original's translations."""
    return jobs.keep_reference_outputs(worker.store, last(worker, jobs.score(None))["hypotheses"])


def test_jobs_survive_the_journey_as_json() -> None:
    made = [jobs.build([("lm.0.mlp", "nf4")], ""), jobs.score(None), jobs.calibrate("ab")]
    made.append(jobs.sense([(DROP, "lm.1", "")], "", "ab"))
    assert [json.loads(json.dumps(job)) for job in made] == made


def test_building_tells_the_noise_and_what_does_not_fit(worker: Worker) -> None:
    wanted = [["lm.0.mlp", "grid@1"], ["lm.0.mlp", "grid@3"], ["lm.0.mlp", "raw:bf16"], ["lm.0.mlp", "magic"]]
    found = worker.build(wanted, "")
    errors = {level: error for _, level, error in found["built"]}
    assert errors["raw:bf16"] == 0
    assert 0 < errors["grid@3"] < 0.1 < errors["grid@1"] < 1
    assert [entry[:2] for entry in found["unsupported"]] == [["lm.0.mlp", "magic"]]


def test_scores_do_not_depend_on_what_was_done_before(worker: Worker) -> None:
    first = last(worker, jobs.score(None))
    assert len(first["hypotheses"]) == len(first["comet_segments"]) == 4
    policy = replace(original_policy(worker.source), dropped=("lm.3", "audio.5"))
    damaged = last(worker, jobs.score(policy.to_json()))
    again = last(worker, jobs.score(None))
    assert again["hypotheses"] == first["hypotheses"]
    assert again["chrf"] == first["chrf"]
    assert last(worker, jobs.score(policy.to_json()))["hypotheses"] == damaged["hypotheses"]
    as_it_is = last(worker, jobs.score(original_policy(worker.source).to_json()))
    assert as_it_is["hypotheses"] == first["hypotheses"]


def test_sensitivities(worker: Worker, said: str) -> None:
    actions = [
        (LEVEL, "lm.2.mlp", "raw:bf16"),
        (LEVEL, "lm.2.mlp", "grid@3"),
        (LEVEL, "lm.2.mlp", "grid@0.5"),
        (DROP, "lm.2", ""),
    ]
    found = last(worker, jobs.sense(actions, "", said))["sensed"]
    assert [tuple(entry[:3]) for entry in found] == actions
    nothing, little, much, drop = (entry[3] for entry in found)
    assert nothing == pytest.approx(0, abs=1e-6)
    assert 0 < little < much
    assert drop > little


def test_a_trimmed_policy_translates_and_scores_as_its_artifact_does(worker: Worker, said: str, tmp_path: Path) -> None:
    from compress.pack import pack
    from evaluate.decoding.batches import prepare
    from evaluate.decoding.cleanup import clean
    from evaluate.decoding.generate import translate
    from evaluate.models import load_model

    last(worker, jobs.score(None))  # batches of the whole vocabulary are ready
    policy = replace(original_policy(worker.source), vocabulary="scripts:en,de", dropped=("lm.3",))
    found = last(worker, jobs.score(policy.to_json(), ("kl", "part", "all"), said))
    pack(worker.source, policy, worker.store, tmp_path / "artifact")
    model, processor = load_model(str(tmp_path / "artifact"))
    raw = translate(model, processor, prepare(worker.data, processor, worker.context.spec.batch_size), 40)
    assert found["hypotheses"] == [clean(text) for text in raw]
    assert found["kl"] > 0
    again = last(worker, jobs.score(policy.to_json()))
    assert again["hypotheses"] == found["hypotheses"]
    full = replace(policy, vocabulary="full")
    assert last(worker, jobs.score(full.to_json(), ("kl",), said))["kl"] == pytest.approx(found["kl"], rel=0.1)


def test_a_trim_alone_costs_little(worker: Worker, said: str) -> None:
    actions = [(TRIM, "scripts:en,de", ""), (LEVEL, "head", "grid@1"), (TRIM, "scripts:en,zh", "")]
    found = last(worker, jobs.sense(actions, "", said))["sensed"]
    trim, head, nothing = (entry[3] for entry in found)
    assert 0 <= trim < 0.005 < head
    assert nothing == pytest.approx(0, abs=1e-6), "all tokens stay"


def test_what_has_a_row_a_token_is_encoded_under_a_vocabulary(worker: Worker) -> None:
    import compress

    last(worker, jobs.build([("head", "grid@3"), ("lm.5.mlp", "grid@3")], ""))
    told = last(worker, jobs.build([("head", "grid@3"), ("head", "rtn:4:g4096")], "", "scripts:en,de"))
    assert (told["built"], told["unsupported"]) == ([], [])
    assert told["hits"]["variants_asked"] > 0
    ledger = compress.Ledger(worker.source, worker.store, ["grid@3"])
    assert ledger.size("head", "grid@3", "scripts:en,de") < 0.7 * ledger.size("head", "grid@3")
    assert ledger.size("lm.5.mlp", "grid@3", "scripts:en,de") == ledger.size("lm.5.mlp", "grid@3")


def test_rungs_report_one_after_the_other_and_end_where_one_rung_does(worker: Worker, said: str) -> None:
    policy = replace(original_policy(worker.source), dropped=("lm.3",)).to_json()
    reports = list(worker.run(jobs.score(policy, ("kl", "part", "all"), said)))
    assert [report["rung"] for report in reports] == ["kl", "part", "all"]
    assert reports[0]["kl"] > 0
    assert "comet_segments" not in reports[0]
    whole = last(worker, jobs.score(policy))
    assert reports[2]["hypotheses"] == whole["hypotheses"]
    assert reports[2]["comet_segments"] == whole["comet_segments"]
    assert reports[2]["chrf"] == whole["chrf"]
    assert reports[1]["hypotheses"] == [whole["hypotheses"][index] for index in worker.context.part]
    assert reports[1]["comet_segments"] == [whole["comet_segments"][index] for index in worker.context.part]


def test_a_worker_that_forgets_everything_goes_on_as_before(worker: Worker) -> None:
    before = last(worker, jobs.score(None))
    worker.forget()
    assert last(worker, jobs.score(None))["hypotheses"] == before["hypotheses"]


def test_a_store_without_the_originals_translations_says_so(worker: Worker) -> None:
    with pytest.raises(UserError, match="is it shared by all nodes"):
        last(worker, jobs.calibrate("0" * 40))


def test_calibration_lowers_the_noise_at_the_same_bytes(worker: Worker, said: str) -> None:
    digest = last(worker, jobs.calibrate(said))["calibration"]
    assert digest == last(worker, jobs.calibrate(said))["calibration"]
    unit, level = "lm.4.mlp", "grid@2"
    worker.build([[unit, level]], "")
    encoder = UnitEncoder(
        worker.source, worker.source.structure.unit(unit), worker.store, EncodeOptions("full", digest)
    )
    plain = encode_unit(worker.source, encoder.unit, level, worker.store)
    fed_back = encoder.payload(level)
    assert len(fed_back) <= len(plain) * 1.03
    error = RelativeError(encoder)
    after = error.of(level)
    worker.store.put(encoder.build(level).key, plain)
    assert after < 0.8 * error.of(level)


def test_a_panic_of_a_library_in_rust_is_a_crash_of_the_job(worker: Worker) -> None:
    panic = type("PanicException", (BaseException,), {})

    class Panicking(Worker):
        def run(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
            raise panic(f"no {job['kind']}")

    actor = WorkerActor(worker.context, 0)
    actor.worker_class = Panicking
    outcome = actor.run(jobs.score(None))
    assert (outcome["error"], outcome["crashed"]) == ("PanicException: no score", True)
