"""The published systems from model to artifact, on tiny models: speech with and without healing, and text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import compress
from compress.cli import run
from compress.errors import UserError
from search import published
from search.recovery import systems
from search.recovery.systems import SYSTEMS, SystemBuild
from tests.compress.tiny import save_tiny
from tests.search.recovery.speech import SENTENCES, manifest


def score(_: Sequence[str], hypotheses: Sequence[str], __: Sequence[str]) -> list[float]:
    return [0.5 + 0.001 * len(text) for text in hypotheses]


def build(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(SystemBuild, "scorer", lambda _: (score, lambda: None))
    monkeypatch.setattr(SystemBuild, "tokens", lambda *_: 4)
    given = published.parser().parse_args([name, *arguments])
    return SystemBuild(SYSTEMS[name], given, {"epochs": "0.5", "checkpoint_every": "2"}).run()


def text_model(folder: Path) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tests.compress.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(folder)
    end = tokenizer.eos_token_id
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, eos_token_id=end,
        pad_token_id=end, bos_token_id=end,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def parallel(folder: Path, what: str, count: int) -> str:
    source, reference = folder / f"{what}.en", folder / f"{what}.de"
    source.write_text("".join(f"this is sentence {i} of the {what} data\n" for i in range(count)), encoding="utf-8")
    reference.write_text("".join(f"{SENTENCES[i % 4]}\n" for i in range(count)), encoding="utf-8")
    return f"text:{source},{reference}"


def common(model: Path, out: Path) -> list[str]:
    base = ["--model", str(model), "--fine-tuned", "--lang", "en-de", "--out", str(out), "--device", "cpu"]
    return [*base, "--train-batch", "2", "--held-out", "0.25"]


@pytest.mark.parametrize(("name", "more"), [("diet", []), ("moslem-b", ["--drop", "2", "--heal-every", "1"])])
def test_speech_systems(name: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_tiny(tmp_path / "tiny")
    data = ["--train", manifest(tmp_path / "train"), "--data", manifest(tmp_path / "dev", talks=2, split="dev")]
    arguments = [*common(model, tmp_path / "out"), *data, *more]
    found = build(name, arguments, monkeypatch)
    art = tmp_path / "out" / "artifact"
    assert found["bytes"] == sum(file.stat().st_size for file in art.iterdir())
    assert compress.verify(art).dropped == tuple(found["dropped"])
    if name == "moslem-b":
        assert found["dropped"] == ["lm.1", "lm.2"]
        assert (tmp_path / "out" / "healed-without-1" / "recovery.json").is_file()
        assert [stage["stage"] for stage in found["stages"]][-1] == "adapters"
        assert compress.inspect(art).adapter_bytes > 0
    monkeypatch.setattr(systems, "recover", None)  # nothing is done twice
    assert build(name, arguments, monkeypatch) == found
    with pytest.raises(UserError, match=r"was made with --drop .* \(now 3\): give another --out"):
        build(name, [*arguments, "--drop", "3"], monkeypatch)
    (tmp_path / "out" / systems.SETTINGS).write_text("[1", encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        build(name, arguments, monkeypatch)


def test_a_text_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(tmp_path / "text")
    data = ["--train", parallel(tmp_path, "train", 8), "--data", parallel(tmp_path, "dev", 4), "--drop", "1"]
    found = build("wmt25", [*common(model, tmp_path / "out"), *data], monkeypatch)
    assert len(found["dropped"]) == 1
    assert found["segments"] == 4
    assert found["bytes"] == compress.inspect(tmp_path / "out" / "artifact").total_bytes


def test_pruned_and_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(tmp_path / "text")
    monkeypatch.setattr(systems, "recover", None)
    data = ["--train", parallel(tmp_path, "train", 8), "--data", parallel(tmp_path, "dev", 4), "--drop", "1"]
    monkeypatch.setattr(SystemBuild, "scorer", lambda _: (score, lambda: None))
    monkeypatch.setattr(SystemBuild, "tokens", lambda *_: 4)
    published.main(["wmt25", *common(model, tmp_path / "out"), *data, "--method", "none"])
    assert len(compress.verify(tmp_path / "out" / "artifact").dropped) == 1


def test_what_is_missing_is_told_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--train", parallel(tmp_path, "train", 8), "--data", parallel(tmp_path, "dev", 4)]
    arguments = ["wmt25", *common(tmp_path / "text", tmp_path / "out"), *data]
    assert run(published.main, arguments) == 2
    assert capsys.readouterr().err.startswith("error: model '")
    spoken = ["--lang", "en-de", "--out", str(tmp_path / "out")]
    assert run(published.main, ["diet", *spoken, "--model", str(tmp_path / "text")]) == 2
    assert capsys.readouterr().err.startswith("error: model '")
    assert run(published.main, ["wmt25", *spoken]) == 2
    assert "is trained on text" in capsys.readouterr().err
    text_model(tmp_path / "text")
    assert run(published.main, [*arguments, "--comet", str(tmp_path / "nowhere")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: COMET")
    assert told.count("\n") == 1
    assert run(published.main, [*arguments, "--method", "magic"]) == 2
    assert "unknown method" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
