"""A text model translates text: its own prompt, the same batches, scores and commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.cli import run
from compress.errors import UserError
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.decoding.generate import translate
from evaluate.models import load_model
from evaluate.translate import main as translate_command
from tests.compress.tiny import tiny_tokenizer

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained Qwen2 of the text kind."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    place = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer(place)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("text")
    sentences = [
        "Das Modell.",
        "Die Daten sind klein und sauber, aber das Netz ist groß.",
        "Sprache",
        "Wir übersetzen.",
    ]
    (place / "a.de").write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8")
    (place / "a.cs").write_text("Jedna.\nDva.\nTři.\nČtyři.\n", encoding="utf-8")
    return f"text:{place / 'a.de'},{place / 'a.cs'}"


@pytest.fixture(scope="module")
def data(spec: str) -> DataSet:
    return open_data(spec, "dev", "de-cs")


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    return load_model(str(folder), "cpu")


def test_translations_do_not_depend_on_batch_size(loaded: tuple[Any, Any], data: DataSet) -> None:
    model, tokenizer = loaded
    texts = [translate(model, tokenizer, prepare(data, tokenizer, size), 12) for size in (1, 2, 4)]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) == 4


def test_batches_are_left_padded_and_hold_the_sentence(loaded: tuple[Any, Any], data: DataSet) -> None:
    _, tokenizer = loaded
    batch = prepare(data, tokenizer, 4)[0]
    assert batch.indices[0] == 1
    assert bool((batch.inputs["attention_mask"][:, -1] == 1).all())
    text = tokenizer.decode(batch.inputs["input_ids"][0], skip_special_tokens=True)
    assert text == f"German: {data.sources[1]}\nCzech:"
    assert batch.audio_digest == ""


def test_the_chat_form_is_used_where_there_is_one(folder: Path, data: DataSet) -> None:
    _, tokenizer = load_model(str(folder), "cpu")
    tokenizer.chat_template = CHAT
    batch = prepare(data, tokenizer, 1)[-1]
    text = tokenizer.decode(batch.inputs["input_ids"][0])
    assert text.startswith("<|im_start|>user\nTranslate the following text from German into Czech.\n")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant")


def test_a_sentence_longer_than_the_window_is_refused(folder: Path, data: DataSet) -> None:
    _, tokenizer = load_model(str(folder), "cpu")
    tokenizer.model_max_length = 20
    with pytest.raises(
        UserError, match=r"segment 2 has .* tokens with its prompt, longer than the model's window of 20"
    ):
        prepare(data, tokenizer, 1)


def test_the_command_translates_text(
    folder: Path, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hyp.txt"
    call = ["--model", str(folder), "--data", spec, "--lang", "de-cs", "-o", str(out), "--max-new-tokens", "6"]
    assert run(translate_command, [*call, "--json", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["segments"] == 4
    assert len(out.read_text(encoding="utf-8").split("\n")) == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--data": "embedded", "--lang": "en-zh"}, "takes no audio"),
        ({"--lang": "de-xx"}, "unknown language pair 'de-xx'"),
        ({"--model": "/not/there"}, "is not there"),
        ({"--prompt": "Hello"}, "no place for the sentence"),
        ({"--segments": "0"}, "--segments 0: at least 1"),
        ({"--batch-size": "0"}, "--batch-size 0: at least 1"),
        ({"--device": "warp"}, "--device warp"),
        ({"--split": "test"}, "unknown split 'test'"),
        ({"-o": "none/hyp.txt"}, "hyp.txt: there is no folder"),
        ({"-o": "."}, "it is a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    folder: Path, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], message: str
) -> None:
    if "-o" in changed:
        changed = {"-o": str(tmp_path / changed["-o"]), "--model": "/not/there"}  # told before the model is looked for
    call = {"--model": str(folder), "--data": spec, "--lang": "de-cs", "-o": str(tmp_path / "h"), **changed}
    assert run(translate_command, [word for pair in call.items() for word in pair]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "h").exists()
    assert not (tmp_path / "none").exists()
