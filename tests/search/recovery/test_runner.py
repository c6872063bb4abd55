"""Recoveries over a real Ray: rows of the run's own table, resumable, failures told, metrics made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compress
from cluster.jobs import Context
from cluster.scorer import Scorer
from compress import Policy
from compress.errors import UserError
from compress.sizes import parse_bins
from evaluate.spec import EvalSpec
from results.candidate import FAILED, HELD_OUT, SCORED, Candidate
from results.rows.storage import Table
from search.config import Config
from search.recorder import EvaluatedPolicy, Recorder
from search.recovery import runner as board
from search.recovery.runner import RecoveryOptions, recover_run
from search.recovery.task import Task
from search.run_dir import RunDir
from tests.compress.tiny import save_tiny
from tests.search.recovery.speech import manifest
from tests.search.recovery.test_job import policy_of

QUICK = {"epochs": "0.5", "checkpoint_every": "2", "max_new_tokens": "4"}


class FakeComet:
    """In the place of COMET: longer is better."""

    hits = 0

    def score(self, _: Sequence[str], hypotheses: Sequence[str], __: Sequence[str]) -> list[float]:
        return [0.5 + 0.001 * len(text) for text in hypotheses]


class FakeScorer(Scorer):
    """The real actor around it, so that what it answers is what it answers in a run."""

    def __init__(self) -> None:
        self.comet = FakeComet()  # type: ignore[assignment]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    import ray

    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}
    )
    actor = ray.remote(FakeScorer).options(name="fake-scorer", num_cpus=0).remote()
    yield actor
    ray.shutdown()


class World:
    """A run of a tiny model with an original and one candidate."""

    def __init__(self, root: Path) -> None:
        self.model = save_tiny(root / "tiny")
        self.source = compress.Source.open(self.model)
        self.dev = manifest(root / "dev", talks=2, split="dev")
        self.train = manifest(root / "train")
        self.config = Config(
            bins=("all",),
            lang="en-de",
            model=str(self.model),
            data=self.dev,
            comet="none",
            runs=str(root / "runs"),
            name="r",
        )
        self.folder = RunDir(self.config, resume=False)
        self.recorder = self.open()
        policy = policy_of(self.source)
        self.put("c00001", policy)
        self.context = Context(
            model=str(self.model),
            store=str(root / "store"),
            spec=EvalSpec(self.dev, "dev", "en-de", batch_size=4, max_new_tokens=4),
            sense_segments=1,
            part=(),
            scorers=("fake-scorer",),
            device="cpu",
            threads=1,
        )

    def open(self) -> Recorder:
        return Recorder(self.folder, self.source.original_bytes, parse_bins(("all",), self.source.original_bytes))

    def put(self, name: str, policy: Policy) -> None:
        outcome = {"comet_segments": [0.1, 0.2, 0.3, 0.4], "hypotheses": ["a"] * 4}
        self.recorder.record(EvaluatedPolicy(name, "search", policy, 100_000, 1000, 0.0), outcome)

    def candidate(self, name: str = "c00001") -> Candidate:
        found = self.recorder.find(name)
        assert found is not None
        return found

    def asked(self, **changes: Any) -> RecoveryOptions:
        return replace(RecoveryOptions(self.train, held_out=0.25, train_batch=2, settings=dict(QUICK)), **changes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_curve_is_told_as_metrics_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:

    told: list[tuple[str, float, dict[str, str]]] = []

    class Gauge:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            assert description
            self.name, self.keys = name, set(tag_keys)

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert set(tags) == self.keys
            told.append((self.name, value, tags))

    monkeypatch.setattr(board, "Gauge", Gauge)
    meter, at = board.Meter("r"), {"task": "c1+heal", "stage": "whole", "steps": 4}
    meter.say({**at, "step": 0, "loss": None, "rate": 0.1, "held_out": 0.5})
    assert {(name.rpartition("recovery_")[2], value) for name, value, _ in told} == {
        ("held_out", 0.5), ("step", 0.0), ("steps", 4.0),
    }  # fmt: skip
    assert told[0][2] == {"run": "r", "task": "c1+heal", "stage": "whole"}
    told.clear()
    meter.say({**at, "step": 1, "loss": 0.25})
    assert ("compression_search_recovery_held_out", 0.5) in {(name, value) for name, value, _ in told}
    told.clear()
    meter.say({**at, "stage": "codes", "step": 1, "loss": 0.2})
    assert not any(name.endswith("held_out") for name, *_ in told), "that was another stage's"


def test_a_row_is_named_after_its_parent_and_its_method(world: World) -> None:
    asked = world.asked(teacher="t", condition="constrained")
    made = board.tasks(
        world.folder, world.context, world.source, [world.candidate()], ["qlora:2", "lora:4:grid@3"], asked
    )
    assert [task.name for task in made] == ["c00001+qlora-2", "c00001+lora-4-grid@3"]
    assert [task.method for task in made] == ["qlora:2", "lora:4:grid@3"]
    for task in made:
        assert (task.teacher, task.condition, task.parent) == ("t", "constrained", "c00001")
        assert Path(task.out) == (world.folder.path / "recovered" / task.name).resolve()
        assert Path(task.out).name not in Path(task.work).parent.name


@pytest.mark.engine
def test_rows_of_the_same_table_that_are_made_once(session: Any, world: World) -> None:  # noqa: ARG001
    said: list[str] = []
    rows = recover_run(
        world.folder,
        world.recorder,
        world.context,
        [world.candidate()],
        ["cheap", "codes"],
        world.asked(),
        0.0,
        2,
        said.append,
    )
    assert {row.candidate for row in rows} == {"c00001+cheap", "c00001+codes"}
    assert {row.status for row in rows} == {SCORED}, [row.error for row in rows]
    by_name = {c.candidate: c for c in Table(world.folder.table).read()}
    for row in rows:
        kept = by_name[row.candidate]
        assert (kept.parent, kept.recipe[:8], kept.layers_dropped) == ("c00001", "recover:", 1)
        recovered = compress.RecoveredSource.open_at(world.source, world.folder.path / "recovered" / row.candidate)
        policy = world.folder.read_policy(kept.policy)
        art = world.folder.path.parent / f"art-{row.candidate}"
        assert compress.pack(recovered, policy, compress.Store(world.context.store), art) == kept.bytes
    assert len(said) == 3
    assert "(before: 0.2500 at 100,000 bytes)" in said[1]
    again = recover_run(
        world.folder,
        world.open(),
        world.context,
        [world.candidate()],
        ["cheap", "codes"],
        world.asked(),
        0.0,
        2,
        said.append,
    )
    assert again == []
    assert said[-1] == "recovering 0 candidates (2 are there already)"


@pytest.mark.engine
def test_what_fails_is_a_failed_row_and_is_tried_again(session: Any, world: World) -> None:  # noqa: ARG001
    world.put("c00002", replace(policy_of(world.source), dropped=(), levels=_raw(world.source)))
    said: list[str] = []
    rows = recover_run(
        world.folder,
        world.recorder,
        world.context,
        [world.candidate("c00002")],
        ["distill"],
        world.asked(),
        0.0,
        1,
        said.append,
    )
    assert [row.status for row in rows] == [FAILED]
    assert "nothing to train" in rows[0].error
    assert "failed" in said[-1]
    recover_run(
        world.folder,
        world.recorder,
        world.context,
        [world.candidate("c00002")],
        ["distill"],
        world.asked(),
        0.0,
        1,
        said.append,
    )
    assert said[-2] == "recovering 1 candidates"


@pytest.mark.engine
def test_training_on_the_scored_data_is_scored_apart(session: Any, world: World) -> None:  # noqa: ARG001
    said: list[str] = []
    asked = world.asked(train=world.dev, train_split="dev", held_out=0.5)
    rows = recover_run(
        world.folder, world.recorder, world.context, [world.candidate()], ["cheap"], asked, 0.0, 1, said.append
    )
    assert [(row.status, row.rung, row.segments) for row in rows] == [(HELD_OUT, "part", 2)]
    assert "on the 2 segments of talks held out" in said[-1]
    assert world.recorder.front() == [world.recorder.whole.members[0]]
    assert world.recorder.front()[0].candidate == "c00001"


def task_of(world: World) -> Task:
    (task,) = board.tasks(world.folder, world.context, world.source, [world.candidate()], ["cheap"], world.asked())
    return task


def test_a_row_scored_on_held_out_talks_has_a_status_of_its_own(world: World) -> None:
    outcome = {"comet_segments": [0.9, 0.9], "hypotheses": ["a"] * 2, "bytes": 90_000, "part": (1, 3)}
    row = board.record(world.recorder, world.source, task_of(world), outcome)
    assert (row.status, row.rung, row.segments, row.comet) == (HELD_OUT, "part", 2, 0.9)
    assert [c.candidate for c in world.recorder.front()] == ["c00001"]
    failed = board.record(world.recorder, world.source, task_of(world), {"error": "no memory", "part": (1, 3)})
    assert failed.status == FAILED
    assert [c.status for c in Table(world.folder.table).read()] == [SCORED, HELD_OUT, FAILED]


@pytest.mark.parametrize("vocabulary", ["full", "scripts:en"])
def test_parameters_are_those_of_the_artifact(world: World, tmp_path: Path, vocabulary: str) -> None:
    policy = replace(policy_of(world.source), vocabulary=vocabulary)
    world.put("c00001", policy)
    recovered = compress.RecoveredSource(world.source, compress.RecoveryDelta(policy))
    nbytes = compress.pack(recovered, recovered.policy, None, tmp_path / "art")
    outcome = {"comet_segments": [0.5] * 4, "hypotheses": ["a"] * 4, "bytes": nbytes}
    outcome["policy"] = recovered.policy.to_json()
    row = board.record(world.recorder, world.source, task_of(world), outcome)
    stored = sum(tensor.numel() for _, tensor in compress.Artifact.open(tmp_path / "art").tensors())
    assert (row.vocabulary, row.parameters) == (vocabulary, stored)
    assert row.bits_per_weight == 8 * nbytes / stored


def test_a_recovered_candidate_is_not_begun_with(world: World) -> None:
    child = replace(world.candidate(), candidate="c00001+cheap", parent="c00001")
    with pytest.raises(UserError, match="recovered already, from c00001"):
        board.tasks(world.folder, world.context, world.source, [child], ["cheap"], world.asked())


def test_a_candidate_of_another_model_is_refused_for_that(world: World) -> None:
    other = replace(policy_of(world.source), model="f" * 32)
    candidate = replace(world.candidate(), policy=world.folder.save_policy(other))
    with pytest.raises(UserError, match=r"is of model f{12}, this one is .*: give the model of the run"):
        board.tasks(world.folder, world.context, world.source, [candidate], ["cheap"], world.asked())


def _raw(source: compress.Source) -> dict[str, str]:
    return dict.fromkeys(source.structure.units, "raw:bf16")
