"""A recovery from beginning to end on a tiny model: what comes out is shipped, weighed and honestly scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compress
from compress.errors import UserError
from compress.model.vocabulary import trimmed_vocabulary
from compress.policy.recipes import original_policy
from compress.recovery.losses import IGNORE
from evaluate.data.open import open_data
from evaluate.spec import EvalSpec
from search.recovery import data as training_data
from search.recovery import job as work
from search.recovery.methods import METHODS, method, parse
from search.recovery.task import Task
from tests.compress.tiny import save_tiny
from tests.search.recovery.speech import SENTENCES, manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def source(model: Path) -> compress.Source:
    return compress.Source.open(model)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> str:
    return manifest(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> str:
    return manifest(tmp_path_factory.mktemp("dev"), talks=2, split="dev")


def score(_: Sequence[str], hypotheses: Sequence[str], __: Sequence[str]) -> list[float]:
    return [0.5 + 0.01 * len(text) for text in hypotheses]


def policy_of(source: compress.Source) -> compress.Policy:
    """grid and NF4, a layer dropped."""
    levels = {}
    for name, unit in source.structure.units.items():
        levels[name] = "nf4" if unit.kind == "attention" else "grid@4" if unit.kind == "mlp" else "raw:bf16"
    return compress.Policy(model=source.digest, levels=levels, dropped=("lm.2",))


def task_of(source: compress.Source, train: str, dev: str, folder: Path, name: str, **changes: Any) -> Task:
    made = Task(
        name=f"c00001+{name}",
        parent="c00001",
        method=name,
        model=str(source.folder),
        policy=policy_of(source).to_json(),
        store=str(folder / "store"),
        spec=EvalSpec(dev, "dev", "en-de", batch_size=4, max_new_tokens=4),
        train=train,
        train_split="train",
        out=str(folder / f"c00001+{name.replace(':', '-')}"),
        work=str(folder / "training" / name.replace(":", "-")),
        held_out=0.25,
        train_batch=2,
        settings={"epochs": 1, "checkpoint_every": 2, "max_new_tokens": 4},
    )
    return replace(made, **changes)


@pytest.mark.parametrize("name", ["distill", "gkd"])
def test_a_trimmed_model_learns_from_a_teacher_of_the_same_words(
    source: compress.Source, train: str, dev: str, tmp_path: Path, name: str
) -> None:
    trimmed = replace(policy_of(source), vocabulary="scripts:en")
    kept = trimmed_vocabulary(source, trimmed.vocabulary)
    assert kept is not None
    assert len(kept.ids) < source.structure.vocabulary
    outcome = work.recover(task_of(source, train, dev, tmp_path, name, policy=trimmed.to_json()), score, lambda _: None)
    assert not outcome["training_stopped"], outcome
    assert outcome["comet_segments"]


@pytest.mark.parametrize("name", ["distill", "cheap", "seqkd", "gkd", "qlora:2", "heal+qlora:2:rtn:8:g32"])
def test_every_method_ships_what_it_promises(
    name: str, source: compress.Source, train: str, dev: str, tmp_path: Path
) -> None:
    task = task_of(source, train, dev, tmp_path, name)
    entries: list[dict[str, Any]] = []
    outcome = work.recover(task, score, entries.append)
    assert "training_stopped" in outcome
    assert not outcome["training_stopped"]
    recovered = compress.RecoveredSource.open_at(source, task.out)
    policy = compress.Policy.from_json(outcome["policy"])
    assert policy == recovered.policy
    assert policy.levels == policy_of(source).levels
    packed = compress.pack(recovered, policy, compress.Store(task.store), tmp_path / "art")
    assert packed == outcome["bytes"] == sum(f.stat().st_size for f in (tmp_path / "art").iterdir())
    assert len(outcome["comet_segments"]) == 4
    assert [stage["stage"] for stage in outcome["stages"]] == list(method(name).stages)
    assert bool(recovered.adapters) == ("qlora" in name)
    assert {entry["stage"] for entry in entries} == set(method(name).stages)
    changed = {**recovered.recovery.unquantized, **recovered.recovery.units, **recovered.adapters}
    assert changed


def test_trained_integers_take_no_more_bytes_than_before(
    source: compress.Source, train: str, dev: str, tmp_path: Path
) -> None:
    levels = {name: "grid@2" for name, unit in source.structure.units.items() if unit.kind in ("attention", "mlp")}
    policy = replace(policy_of(source), levels={**policy_of(source).levels, **levels}, dropped=())
    before = work.size(
        compress.RecoveredSource(source, compress.RecoveryDelta(policy)), compress.Store(str(tmp_path / "store"))
    )
    wild = {"epochs": 3, "learning_rate": 0.1, "checkpoint_every": 20, "keep_best": "false"}
    task = task_of(source, train, dev, tmp_path, "codes", policy=policy.to_json(), settings=wild)
    assert work.recover(task, score)["bytes"] <= before
    recovery = compress.RecoveryDelta.read(task.out)
    assert set(recovery.units) == set(levels)


def test_a_task_that_was_cut_off_goes_on_after_its_finished_stages(
    source: compress.Source, train: str, dev: str, tmp_path: Path
) -> None:
    whole = work.recover(task_of(source, train, dev, tmp_path / "one", "distill"), score)
    task = task_of(source, train, dev, tmp_path / "two", "distill")

    def cut(entry: dict[str, Any]) -> None:
        if entry["stage"] == "codes" and entry["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.recover(task, score, cut)
    assert (Path(task.work) / "0-whole" / "recovery").is_dir()
    stages: list[str] = []
    again = work.recover(task, score, lambda entry: stages.append(f"{entry['stage']} {entry['step']}"))
    assert stages == ["codes 3"]
    assert (again["bytes"], again["policy"]) == (whole["bytes"], whole["policy"])
    assert again["hypotheses"] == whole["hypotheses"]
    assert not Path(task.work).exists()


def test_only_the_translations_tokens_are_learnt(source: compress.Source, train: str) -> None:
    resident = compress.Resident(source, compress.Store("unused"))
    data = open_data(train, "train", "en-de")
    tokenizer = resident.processor.tokenizer
    for batch in training_data.lessons_of(data, resident.processor, 3):
        for labels in batch["labels"].tolist():
            told = [token for token in labels if token != IGNORE]
            assert told[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(told[:-1]) in SENTENCES
        assert bool((batch["labels"] == batch["input_ids"])[batch["labels"] != IGNORE].all())


def test_gold_and_teacher_are_joined_without_repeats(train: str) -> None:
    data = open_data(train, "train", "en-de")
    told = [segment.reference for segment in data.segments]
    assert training_data.union(data, told) == data
    told[0], told[1] = "anders", "  "
    joined = training_data.union(data, told)
    assert len(joined.segments) == len(data.segments) + 1
    assert joined.segments[-1].reference == "anders"
    assert joined.segments[-1].audio == data.segments[0].audio


def test_whole_talks_are_held_out_and_eval_is_never_trained_on(train: str, tmp_path: Path) -> None:
    lessons = training_data.open_lessons(train, "train", "en-de", held_out=0.25)
    assert not {s.talk for s in lessons.train.segments} & {s.talk for s in lessons.held_out.segments}
    with pytest.raises(UserError, match="eval split"):
        training_data.open_lessons(manifest(tmp_path, split="eval"), "eval", "en-de")
    with pytest.raises(UserError, match="only ACL 60/60"):
        training_data.open_lessons(train, "train", "en-de", "constrained")
    with pytest.raises(UserError, match="holds no segment"):
        training_data.open_lessons(train, "dev", "en-de")


def test_data_without_references_is_refused(tmp_path: Path) -> None:
    spec = manifest(tmp_path)
    path = tmp_path / "segments.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(SENTENCES[0], ""), encoding="utf-8")
    with pytest.raises(UserError, match=r"no target_de|no reference"):
        training_data.open_lessons(spec, "train", "en-de")


def test_a_row_trained_on_dev_is_scored_on_the_talks_held_out(source: compress.Source, tmp_path: Path) -> None:
    spec = manifest(tmp_path / "speech", split="dev")
    task = task_of(source, spec, spec, tmp_path, "cheap", train_split="dev")
    reported, part = work.reporting(task.spec, work.opened(task), task.train)
    lessons = training_data.open_lessons(spec, "dev", "en-de", held_out=0.25)
    assert [s.id for s in reported.segments] == [s.id for s in lessons.held_out.segments]
    assert part == tuple(i for i, s in enumerate(open_data(spec, "dev", "en-de").segments) if s in reported.segments)
    outcome = work.recover(task, score)
    assert len(outcome["comet_segments"]) == len(part)
    assert tuple(outcome["part"]) == part


def test_candidates_of_other_models_and_empty_training_are_refused(
    source: compress.Source, train: str, dev: str, tmp_path: Path
) -> None:
    stranger = replace(policy_of(source), model="cd" * 16)
    with pytest.raises(UserError, match="this policy is for model"):
        work.recover(task_of(source, train, dev, tmp_path, "cheap", policy=stranger.to_json()), score)
    plain = original_policy(source)
    with pytest.raises(UserError, match="nothing to train"):
        work.recover(task_of(source, train, dev, tmp_path, "distill", policy=plain.to_json()), score)


def test_methods_are_known_by_name() -> None:
    assert [m.name for m in parse("distill, qlora,distill")] == ["distill", "qlora"]
    assert method("qlora").rank == 64
    assert (method("lora:8:grid@4").rank, method("lora:8:grid@4").adapter_level) == (8, "grid@4")
    assert method("qlora").settings("adapters", "full", {}).learning_rate == 1e-5
    assert method("sft").settings("whole", "full", {}).epochs == 3
    assert METHODS["distill"].settings("codes", "embedded", {"epochs": "7"}).epochs == 7
    for wrong in ("", "magic", "cheap:4", "lora:0", "lora:2:nope"):
        with pytest.raises(UserError):
            parse(wrong)


@pytest.mark.parametrize(
    ("levels", "dropped", "stages", "left"),
    [
        (["grid@2", "grid@2:trellis"], (), ("whole", "codes"), ["codes"]),
        (["grid@2:trellis", "nf4"], (), ("whole", "codes"), ["cheap"]),
        (["grid@2:trellis", "nf4"], ("lm.1",), ("whole", "codes"), ["whole", "cheap"]),
        (["grid@2:trellis"], (), ("codes",), []),
        (["nf4"], (), ("whole", "codes"), []),
        (["nf4"], ("lm.1",), ("whole", "codes"), ["whole"]),
    ],
)
def test_scales_stand_in_for_the_integers_of_a_trellis(
    levels: list[str], dropped: tuple[str, ...], stages: tuple[str, ...], left: list[str]
) -> None:
    policy = compress.Policy("ab" * 16, {f"lm.{n}.mlp": level for n, level in enumerate(levels, 2)}, dropped=dropped)
    assert work.needed(stages, policy, other_teacher=False) == left
