"""Where a model lies on this machine: the folder of a name, and the weight files of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import embedded
from compress.errors import UserError


def check_model_name(name: str) -> None:
    """Refuses what is neither embedded, nor a folder that is there, nor in the form of a hub name."""
    is_folder = bool(name) and Path(name).expanduser().is_dir()
    if name != "embedded" and not is_folder and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise UserError(
            f"model '{name}' is not there: give a folder, an artifact, a hub name (owner/name), or embedded"
        )


def resolve_model(name: str, *, download: bool = True) -> Path:
    """The folder of a model by its name: embedded, a folder, an artifact, or a hub name (owner/name).

    Hub names go through the local cache of huggingface_hub; `download` fetches what the cache lacks.
    """
    folder = Path(name).expanduser()
    if name == "embedded" and not (folder / "config.json").is_file():
        return embedded.MODEL
    if name and folder.is_dir():
        return folder.absolute()
    check_model_name(name)
    from huggingface_hub import snapshot_download

    try:
        ignored = ["*.bin", "*.pt", "*.gguf"]
        return Path(snapshot_download(name, ignore_patterns=ignored, local_files_only=not download))
    except Exception as error:  # of the network, the hub or the cache
        raise UserError(
            f"model '{name}' is not in the local hub cache and was not downloaded ({type(error).__name__}):"
            " download it where there is a network and give its folder with --model"
        ) from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors shards of a checkpoint, by its index where it has one."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise UserError(f"{index} is not the index of a sharded checkpoint") from None
        if any(not isinstance(name, str) or "/" in name or "\\" in name for name in files):
            raise UserError(f"{index} names a file outside its folder")
        shards = [folder / name for name in files]
    else:
        shards = sorted(folder.glob("*.safetensors"))
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(f"{missing[0]} is missing; download the model again")
    if not shards:
        raise UserError(f"{folder} holds no .safetensors file; save the model with save_pretrained")
    return shards


def weight_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's weight files: the original's bytes in every command, by which its bins are scaled."""
    return sum(file.stat().st_size for file in weight_files(folder))
