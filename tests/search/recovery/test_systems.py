"""The published systems from model to artifact, on tiny models: speech with and without healing, and text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import compress
from search import published
from search.recovery import systems
from search.recovery.systems import SYSTEMS, Build
from tests.compress.tiny import save_tiny
from tests.search.recovery.speech import SENTENCES, manifest


def score(_: Sequence[str], hypotheses: Sequence[str], __: Sequence[str]) -> list[float]:
    return [0.5 + 0.001 * len(text) for text in hypotheses]


def build(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(Build, "scorer", lambda _: (score, lambda: None))
    monkeypatch.setattr(Build, "tokens", lambda *_: 4)
    given = published.parser().parse_args([name, *arguments])
    return Build(SYSTEMS[name], given, {"epochs": "0.5", "checkpoint_every": "2"}).run()


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


def test_a_text_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(tmp_path / "text")
    specs = []
    for what, count in (("train", 8), ("dev", 4)):
        source, reference = tmp_path / f"{what}.en", tmp_path / f"{what}.de"
        source.write_text("".join(f"this is sentence {i} of the {what} data\n" for i in range(count)), encoding="utf-8")
        reference.write_text("".join(f"{SENTENCES[i % 4]}\n" for i in range(count)), encoding="utf-8")
        specs.append(f"text:{source},{reference}")
    data = ["--train", specs[0], "--data", specs[1], "--drop", "1"]
    found = build("wmt25", [*common(model, tmp_path / "out"), *data], monkeypatch)
    assert len(found["dropped"]) == 1
    assert found["segments"] == 4
    assert found["bytes"] == compress.inspect(tmp_path / "out" / "artifact").total_bytes
