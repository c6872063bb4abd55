"""The shipped files: complete, small, loaded by plain transformers and unbabel-comet without a network."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import embedded
from embedded.recipe.speech import SEED
from embedded.recipe.talks import Sizes, splits


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def rows() -> list[dict[str, str]]:
    with open(embedded.SPEECH / "segments.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_stay_small() -> None:
    assert size_of(embedded.MODEL) < 12e6
    assert size_of(embedded.COMET.parents[1]) < 5e6
    assert size_of(embedded.SPEECH) < 6e6


def test_segments_are_whole_talks_with_both_references() -> None:
    segments = rows()
    talks: dict[str, set[str]] = {}
    for row in segments:
        talks.setdefault(row["talk"], set()).add(row["split"])
        assert row["source_en"]
        assert row["target_de"]
        assert row["target_zh"]
        assert (embedded.SPEECH / row["audio_path"]).is_file()
    assert all(len(names) == 1 for names in talks.values())
    for split in ("dev", "eval"):
        assert 128 <= sum(row["split"] == split for row in segments) <= 160
    assert len({row["source_en"] for row in segments}) == len(segments)


def test_segments_are_those_of_the_recipe() -> None:
    sentences = {s.en: s for name in ("dev", "eval") for t in splits(SEED, Sizes(train=0))[name] for s in t.sentences}
    for row in rows():
        assert (row["target_de"], row["target_zh"]) == (sentences[row["source_en"]].de, sentences[row["source_en"]].zh)


def test_speech_is_16_khz_and_as_long_as_the_table_says() -> None:
    for row in rows()[::24]:
        wave, rate = soundfile.read(embedded.SPEECH / row["audio_path"], dtype="float32")
        assert rate == 16000
        assert len(wave) / rate == pytest.approx(float(row["seconds"]), abs=0.05)
        assert np.abs(wave).max() > 0.1


def test_the_model_translates_with_plain_transformers() -> None:
    from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

    processor = Qwen2AudioProcessor.from_pretrained(embedded.MODEL)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(embedded.MODEL, dtype=torch.float32).eval()
    some = [row for row in rows() if row["split"] == "eval"][::24]
    waves = [soundfile.read(embedded.SPEECH / row["audio_path"], dtype="float32")[0] for row in some]
    prompt = "<|audio_bos|><|AUDIO|><|audio_eos|>Translate this English speech into {}."
    for language, code in (("German", "de"), ("Chinese", "zh")):
        texts = [prompt.format(language)] * len(some)
        inputs = processor(text=texts, audio=waves, sampling_rate=16000, return_tensors="pt", padding=True)
        assert "input_features" in inputs
        with torch.no_grad():
            output = model.generate(**inputs, do_sample=False)
        translations = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert sum(a == row[f"target_{code}"] for a, row in zip(translations, some, strict=True)) >= len(some) // 2


def test_comet_loads_by_its_public_function_from_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from comet import load_from_checkpoint

    monkeypatch.chdir(embedded.COMET.parents[1])  # pretrained_model in hparams.yaml is relative
    metric = load_from_checkpoint(str(embedded.COMET), local_files_only=True)
    assert type(metric).__name__ == "RegressionMetric"


def test_comet_loads_offline_and_falls_with_the_damage() -> None:
    from comet.models import RegressionMetric

    metric = RegressionMetric.load_from_checkpoint(
        str(embedded.COMET),
        pretrained_model=str(embedded.COMET.parents[1] / "encoder"),
        load_pretrained_weights=False,
        local_files_only=True,
        map_location="cpu",
    ).eval()
    segments = rows()[::4]
    for code in ("de", "zh"):
        means = []
        for lost in (0.0, 0.25, 0.5, 0.75, 1.0):
            items = []
            for row in segments:
                ref = row[f"target_{code}"]
                items.append({"src": row["source_en"], "mt": ref[: round(len(ref) * (1 - lost))], "ref": ref})
            with torch.no_grad():
                means.append(metric(**metric.prepare_sample(items, stage="predict")).score.mean().item())
        assert means == sorted(means, reverse=True), means
        assert means[0] > 0.93
        assert means[-1] < 0.15
