"""A model's name becomes a folder, and a folder's weight files one number of bytes, in one way for every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import compress
import embedded
from compress.errors import UserError
from compress.models import resolve_model, weight_bytes


def test_embedded_and_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model("embedded") == embedded.MODEL
    assert resolve_model(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert resolve_model("model") == tmp_path / "model"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/model") == tmp_path / "model"
    (tmp_path / "embedded").mkdir()
    assert resolve_model("embedded") == embedded.MODEL, "a folder of that name that holds no model"
    (tmp_path / "embedded" / "config.json").write_text("{}")
    assert resolve_model("embedded") == tmp_path / "embedded"


@pytest.mark.parametrize("name", ["./nowhere", "/not/there", "~/none", "nowhere", "a/b/c", ""])
def test_a_model_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is not there: give a folder"):
        resolve_model(name)


@pytest.mark.parametrize("download", [True, False])
def test_a_hub_name_that_cannot_be_had_says_what_to_do(
    download: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="give its folder with --model"):
        resolve_model("Somebody/Something-7B", download=download)


def test_a_hub_name_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    cached = tmp_path / "models--Somebody--Small"
    snapshot = cached / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *names, _real=huggingface_hub.snapshot_download, **options: _real(*names, **options, cache_dir=tmp_path),
    )
    assert resolve_model("Somebody/Small", download=False) == snapshot


def test_the_bytes_of_the_original_are_those_of_its_weight_files(folder: Path, tmp_path: Path) -> None:
    size = (folder / "model.safetensors").stat().st_size
    source = compress.Source.open(folder)
    assert weight_bytes(folder) == source.original_bytes == size
    policy = compress.Policy(source.digest, dict.fromkeys(source.structure.units, "raw:bf16"))
    compress.pack(source, policy, None, tmp_path / "art")
    assert compress.inspect(tmp_path / "art").original_bytes == size


def test_weight_files_of_an_index(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "a.safetensors")
    (tmp_path / "m" / "unrelated.safetensors").write_bytes(b"more")
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}))
    assert weight_bytes(tmp_path / "m") == (tmp_path / "m" / "a.safetensors").stat().st_size
    index.write_text(json.dumps({"weight_map": {"x": "b.safetensors"}}))
    with pytest.raises(UserError, match=r"b\.safetensors is missing"):
        weight_bytes(tmp_path / "m")
    index.write_text(json.dumps({"weight_map": {"x": "../b.safetensors"}}))
    with pytest.raises(UserError, match="outside its folder"):
        weight_bytes(tmp_path / "m")
