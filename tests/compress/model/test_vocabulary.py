"""A trimmed vocabulary writes any text, gives the same logits for what stays, and generates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.artifact.artifact import load
from compress.errors import UserError
from compress.model.source import Source
from compress.model.vocabulary import _renumber, make_top_vocabulary, trimmed_vocabulary
from compress.pack import pack
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, build
from compress.resident import Resident
from tests.compress.tiny import inputs, save_tiny

TEXTS = [
    "Translate this English speech into Chinese.",
    "模型翻译语音。",
    "Das Modell",
    "naïve café – 😀 ",
    "ありがとう",
]


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return Source.open(folder)


@pytest.fixture(scope="module")
def store(store_folder: Path) -> Store:
    return Store(store_folder)


def raw(source: Source, vocabulary: str) -> Policy:
    return Policy(source.digest, recipe("uniform:raw:bf16", source.structure, source.digest).levels, (), vocabulary)


def test_scripts_drop_what_no_language_of_the_pair_writes(source: Source) -> None:
    german, chinese = trimmed_vocabulary(source, "scripts:en,de"), trimmed_vocabulary(source, "scripts:en,zh")
    assert german is not None
    assert chinese is not None
    assert len(german.ids) < source.structure.vocabulary
    assert set(german.ids) != set(chinese.ids)


@pytest.mark.parametrize("name", ["scripts:en,de", "top"])
def test_any_text_round_trips_and_logits_stay(name: str, source: Source, store: Store, tmp_path: Path) -> None:
    vocabulary = make_top_vocabulary(source, TEXTS[:1], 300, store) if name == "top" else name
    policy = raw(source, vocabulary)
    packed = pack(source, policy, store, tmp_path / "art")
    assert Ledger(source, store, ["raw:bf16"]).predict(policy) == packed
    loaded, processor = load(tmp_path / "art")
    smaller = trimmed_vocabulary(source, vocabulary, store)
    assert smaller is not None
    tokenizer = processor.tokenizer
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert max(ids) < len(smaller.ids)
    assert tokenizer.convert_tokens_to_ids("<|AUDIO|>") == loaded.config.audio_token_index

    whole = Resident(source, store)
    batch = inputs(processor)
    old = dict(batch)
    old["input_ids"] = torch.from_numpy(smaller.ids)[batch["input_ids"]]
    with torch.no_grad():
        small, full = loaded(**batch).logits, whole.model(**old).logits
    assert torch.equal(small, full[..., torch.from_numpy(smaller.ids)])
    assert loaded.generate(**batch, max_new_tokens=4).shape[1] > batch["input_ids"].shape[1]


def test_the_resident_changes_vocabulary_and_comes_back(source: Source, store: Store, tmp_path: Path) -> None:
    resident = Resident(source, store)
    batch = inputs(resident.processor)
    with torch.no_grad():
        before = resident.model(**batch).logits
    level = {u: ("grid@3" if u != "head" else "int8") for u in source.structure.units}
    policy = Policy(source.digest, level, ("lm.2",), "scripts:en,zh")
    swapped = resident.apply(policy)
    assert {"embedding", "head"} <= set(swapped)
    pack(source, policy, store, tmp_path / "art")
    loaded, processor = load(tmp_path / "art")
    here, there = resident.model.state_dict(), loaded.state_dict()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    again = inputs(processor)
    assert torch.equal(inputs(resident.processor)["input_ids"], again["input_ids"])
    with torch.no_grad():
        generated = [m.generate(**again, max_new_tokens=4) for m in (resident.model, loaded)]
    assert torch.equal(*generated)
    resident.restore()
    with torch.no_grad():
        assert torch.equal(resident.model(**batch).logits, before)


def test_prompt_tokens_stay_as_they_were(source: Source, store: Store) -> None:
    """A prompt made of kept tokens is cut into the very same tokens."""
    smaller = trimmed_vocabulary(source, make_top_vocabulary(source, [TEXTS[0]], 320, store), store)
    assert smaller is not None
    from tokenizers import Tokenizer

    old = Tokenizer.from_str(source.aux_files["tokenizer.json"].decode()).encode(TEXTS[0])
    new = Tokenizer.from_str(smaller.files["tokenizer.json"].decode()).encode(TEXTS[0])
    assert old.tokens == new.tokens


def test_only_token_ids_are_renumbered() -> None:
    config = {
        "eos_token_id": 300,
        "bos_token_ids": [300, 10],
        "suppress_tokens": [-1, 10, 300],
        "max_new_tokens": 300,
        "num_image_tokens": 10,
        "use_token_id": True,
        "vocab_size": 1000,
    }
    _renumber(config, {10: 0, 300: 1}, 1000)
    assert config == {
        "eos_token_id": 1,
        "bos_token_ids": [1, 0],
        "suppress_tokens": [-1, 0, 1],
        "max_new_tokens": 300,
        "num_image_tokens": 10,
        "use_token_id": True,
        "vocab_size": 2,
    }


def test_only_embedding_and_head_get_variants_of_their_own(source: Source, store: Store) -> None:
    full, small = EncodeOptions(), EncodeOptions(vocabulary="scripts:en,de")
    assert build(source, "lm.0.mlp", "grid@2", store, options=full) == build(
        source, "lm.0.mlp", "grid@2", store, options=small
    )
    head = build(source, "head", "grid@2", store, options=small)
    assert head.nbytes < build(source, "head", "grid@2", store, options=full).nbytes


def test_tied_vocabulary(tmp_path: Path) -> None:
    source = Source.open(save_tiny(tmp_path / "tied", tied=True))
    store = Store(tmp_path / "store")
    policy = raw(source, "scripts:en,de")
    pack(source, policy, store, tmp_path / "art")
    loaded, processor = load(tmp_path / "art")
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert loaded.generate(**inputs(processor), max_new_tokens=2) is not None


@pytest.mark.parametrize("name", ["scripts:xx", "half", "top:10", "top:10:0123456789abcdef"])
def test_a_vocabulary_that_is_none_is_refused(name: str, source: Source, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        pack(source, raw(source, name), store, tmp_path / "art")
    assert list(tmp_path.iterdir()) == []


def test_fewer_tokens_than_bytes_are_refused(source: Source, store: Store) -> None:
    with pytest.raises(UserError, match="too few"):
        make_top_vocabulary(source, TEXTS, 100, store)
