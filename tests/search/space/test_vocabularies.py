"""Which vocabularies a search may choose from: requested, left out, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import compress
import embedded
from compress.errors import UserError
from compress.model.vocabulary import BpeTokenizer, trimmed_vocabulary
from evaluate.decoding.prompts import prompt
from search.command_line import parser, to_config
from search.config import Config
from search.inputs import choose_bins_and_vocabularies as settle_run
from search.recorder import parameters_left
from search.space.vocabularies import parse, resolve, scripts, store_counted


@pytest.fixture(scope="module")
def source() -> compress.Source:
    return compress.Source.open(embedded.MODEL)


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.txt"
    path.write_text("The model translates the speech.\nDas Modell übersetzt die Rede.\n" * 5, encoding="utf-8")
    return str(path)


def config(tmp_path: Path, lang: str = "en-de", **others: object) -> Config:
    base = Config(bins=("Bin2",), lang=lang, vocabulary=(), runs=str(tmp_path), name="v")
    return replace(base, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "names"),
    [
        (None, ()),
        ("full", ("full",)),
        ("scripts,full", ("full", "scripts:en,de")),
        ("top:400,scripts,top:600", ("scripts:en,de", "top:600", "top:400")),
    ],
)
def test_names_from_the_command_line(option: str | None, names: tuple[str, ...]) -> None:
    assert parse(option, "en-de", "texts.txt" if option and "top" in option else "") == names
    more = ["--vocabulary", option] if option else []
    texts = ["--vocabulary-texts", "texts.txt"] if option and "top" in option else []
    options = parser().parse_args(["--bin", "Bin2", "--lang", "en-de", *more, *texts])
    assert to_config(options).vocabulary == names


@pytest.mark.parametrize(
    ("option", "texts", "refused"),
    [
        ("klingon", "", "'klingon' is none of full, scripts and top:N"),
        ("full,", "", "'' is none of"),
        ("top:0", "x", "'top:0' is none of"),
        ("full,top:600", "", "top:600: add --vocabulary-texts FILE"),
        ("full", "x", "goes with --vocabulary top:N"),
        (None, "x", "goes with --vocabulary top:N"),
    ],
)
def test_names_that_mean_nothing(option: str | None, texts: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        parse(option, "en-de", texts)


def test_by_default_the_scripts_of_the_pair_where_they_are_fewer(source: compress.Source, tmp_path: Path) -> None:
    names, tokens, message = resolve(config(tmp_path), source)
    assert names == ("full", "scripts:en,de")
    assert tokens == (1024, 677)
    assert "scripts:en,de (677 tokens)" in message
    names, tokens, message = resolve(config(tmp_path, "en-zh"), source)
    assert (names, tokens) == (("full",), (1024,))
    assert "scripts:en,zh keeps all of them" in message
    assert resolve(config(tmp_path, "en-zh", vocabulary=(scripts("en-zh"),)), source)[0] == ("full",)


def test_a_tokenizer_that_cannot_be_trimmed(source: compress.Source, tmp_path: Path) -> None:
    bare = compress.Source.open(embedded.MODEL)
    bare.aux_files = {name: data for name, data in source.aux_files.items() if name != "tokenizer.json"}
    names, _, message = resolve(config(tmp_path), bare)
    assert names == ("full",)
    assert "scripts:en,de is left out: " in message
    with pytest.raises(UserError, match=r"--vocabulary scripts:en,de: .* no tokenizer\.json"):
        resolve(config(tmp_path, vocabulary=("full", "scripts:en,de")), bare)


def test_a_frozen_embedding_or_head_cannot_be_trimmed(source: compress.Source, tmp_path: Path) -> None:
    assert resolve(config(tmp_path), source, ("head",))[0] == ("full",)
    assert resolve(config(tmp_path), source, ("lm.3.mlp",))[0] == ("full", "scripts:en,de")
    with pytest.raises(UserError, match="--freeze keeps head as it is"):
        resolve(config(tmp_path, vocabulary=("scripts:en,de",)), source, ("head",))


def test_the_most_used_tokens_of_a_text_have_a_name_that_every_worker_finds(
    source: compress.Source, tmp_path: Path, texts: str
) -> None:
    requested = config(tmp_path, vocabulary=("full", "top:400"), vocabulary_texts=texts)
    resolved, message, _ = settle_run(requested, source)
    name = resolved.vocabulary[1]
    assert name.startswith("top:400:")
    assert f"{name} (" in message
    assert not list(tmp_path.glob("**/*.json")), "nothing is written before there is a run"
    assert list(tmp_path.iterdir()) == [Path(texts)]
    store = compress.Store(tmp_path / "store")
    store_counted(resolved, source, store)
    trimmed = trimmed_vocabulary(compress.Source.open(embedded.MODEL), name, store)
    assert trimmed is not None
    assert len(trimmed.ids) <= 400
    tokenizer = BpeTokenizer(source).backend()
    prompt_ids = set(tokenizer.encode(prompt("en-de")).ids)
    assert prompt_ids <= set(trimmed.ids.tolist()), "the prompt stays whole"
    with pytest.raises(UserError, match=r"cannot read .*nowhere"):
        resolve(replace(requested, vocabulary_texts="nowhere"), source)


def test_a_resumed_run_keeps_its_vocabularies_without_the_option(
    source: compress.Source, tmp_path: Path, texts: str
) -> None:
    begun = config(tmp_path, name="begun")
    begun.folder.mkdir()
    older = json.loads(begun.to_json())
    del older["vocabulary"]
    (begun.folder / "config.json").write_text(json.dumps(older), encoding="utf-8")
    again = to_config(parser().parse_args(["--resume", "begun", "--runs", str(tmp_path)]))
    assert settle_run(again, source)[0].vocabulary == ("full",)
    resolved = settle_run(replace(begun, vocabulary=("full", "top:400"), vocabulary_texts=texts), source)[0]
    assert settle_run(resolved, source)[0] == resolved, "the name that a run has for it is known again"
    Path(texts).write_text("other words\n" * 50, encoding="utf-8")
    with pytest.raises(UserError, match="holds other tokens than when the run was begun"):
        settle_run(resolved, source)


def test_parameters_that_remain(source: compress.Source, tmp_path: Path) -> None:
    store = compress.Store(tmp_path)
    levels = dict.fromkeys(source.structure.units, "raw:bf16")
    policy = compress.Policy(source.digest, levels)
    assert parameters_left(source, policy, store) == source.structure.parameters
    rows = 2 * 96 * (1024 - 677)  # embedding and head
    trimmed = replace(policy, vocabulary="scripts:en,de")
    assert parameters_left(source, trimmed, store) == source.structure.parameters - rows
    layer = source.structure.layer("lm.3").parameters
    both = compress.Policy(source.digest, levels, ("lm.3",), "scripts:en,de")
    assert parameters_left(source, both, store) == source.structure.parameters - rows - layer
