"""Data sets: order, counts, missing things; each mistake one line that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import embedded
from compress.errors import UserError
from evaluate.data.open import open_data


def sound(path: Path, seconds: float = 0.1, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(seconds * rate), dtype="float32"), rate)
    return path


def acl(root: Path, count: int = 12, wavs: int | None = None) -> Path:
    """A tree in the layout of the official ACL 60/60 zip."""
    base = root / "2" / "acl_6060" / "dev"
    for n in range(1, (count if wavs is None else wavs) + 1):
        sound(base / "segmented_wavs" / "gold" / f"sent_{n}.wav")
    text = base / "text" / "txt"
    text.mkdir(parents=True)
    for language, what in (("en", "Sentence"), ("de", "Satz"), ("zh", "句子")):
        lines = "".join(f"{what} {n}\n" for n in range(1, count + 1))
        (text / f"ACL.6060.dev.en-xx.{language}.txt").write_text(lines, encoding="utf-8")
    return root


def test_wavs_are_sorted_by_number_not_by_name(tmp_path: Path) -> None:
    data = open_data(f"acl6060:{acl(tmp_path)}", "dev", "en-zh")
    assert [segment.audio.stem for segment in data.segments if segment.audio] == [f"sent_{n}" for n in range(1, 13)]
    assert data.segments[9].source == "Sentence 10"
    assert data.references[9] == "句子 10"


def test_counts_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gold wavs has 11, source txt has 12"):
        open_data(f"acl6060:{acl(tmp_path, wavs=11)}", "dev", "en-de")


def test_manifest_with_relative_paths(tmp_path: Path) -> None:
    sound(tmp_path / "data" / "a.wav")
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        'id,split,audio_path,source_en,target_zh\nd1,dev,data/a.wav,"Hi, there.",你好。\ne1,eval,data/b.wav,No,不\n',
        encoding="utf-8",
    )
    data = open_data(f"manifest:{manifest},{tmp_path}", "dev", "en-zh")
    assert [(s.id, s.source, s.reference) for s in data.segments] == [("d1", "Hi, there.", "你好。")]
    with pytest.raises(UserError, match=r"audio file .*b\.wav is missing"):
        open_data(f"manifest:{manifest}", "eval", "en-zh")
    with pytest.raises(UserError, match="no column target_de"):
        open_data(f"manifest:{manifest}", "dev", "en-de")


@pytest.mark.parametrize(
    ("spec", "split", "lang", "message"),
    [
        ("nowhere", "dev", "en-zh", "unknown data 'nowhere'"),
        ("acl6060:/not/there", "dev", "en-zh", "holds no ACL 60/60"),
        ("manifest:/not/there.csv", "dev", "en-zh", "is missing"),
        ("embedded", "train", "en-zh", "not shipped"),
        ("embedded", "test", "en-zh", "unknown split"),
        ("embedded", "dev", "en-fr", "no column target_fr"),
        ("embedded", "dev", "en-xx", "unknown language pair"),
        ("embedded", "dev", "zh", "unknown language pair"),
    ],
)
def test_mistakes(spec: str, split: str, lang: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(spec, split, lang)


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_embedded_speech_loads_in_both_languages(split: str) -> None:
    german, chinese = open_data("embedded", split, "en-de"), open_data("embedded", split, "en-zh")
    assert len(german.segments) == len(chinese.segments) >= 128
    assert german.sources == chinese.sources
    assert german.digest != chinese.digest
    assert all(segment.audio and segment.audio.is_relative_to(embedded.SPEECH) for segment in german.segments)


def test_first_segments() -> None:
    data = open_data("embedded", "dev", "en-de")
    assert data.first(None) is data
    assert data.first(5).segments == data.segments[:5]
    assert data.first(5).digest != data.digest
    with pytest.raises(UserError, match="--segments 0"):
        data.first(0)
