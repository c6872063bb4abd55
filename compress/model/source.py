"""A checkpoint on disk, read lazily: one tensor at a time from its safetensors shards, whatever their size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from compress.artifact.adapters import Adapter
from compress.artifact.unquantized import encode_unquantized
from compress.errors import UserError, first_line
from compress.model.aux_files import read_aux_files
from compress.model.digests import cached_digests
from compress.model.meta_model import build_meta_model, read_config
from compress.model.structure import Structure, read_structure
from compress.models import weight_bytes, weight_files

_DTYPES = ("F64", "F32", "BF16", "F16")


class Source:
    """An original model: its map, its tensors, its fixed files. Open one with `Source.open(folder)`."""

    adapters: Mapping[str, Adapter] = {}  # by unit; an original has none, a recovered model may
    replaced: Mapping[str, Any] = {}  # units whose payload was trained (compress.artifact.recovered)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self.shards = weight_files(folder)
        self._unquantized: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self.vocabularies: dict[str, Any] = {}  # vocabularies by name, filled by compress.model.vocabulary
        self._heads = {shard: _read_head(shard) for shard in self.shards}
        stored = {name: shard for shard, head in self._heads.items() for name in head}
        model = self.meta_model()
        self.structure: Structure = read_structure(model)
        self._where = _match(dict(model.named_parameters()), stored)
        self._check_shapes(dict(model.named_parameters()))

    @classmethod
    def open(cls, folder: str | Path) -> Source:
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"no model at {folder}; give the folder of a transformers checkpoint")
        return cls(folder)

    def meta_model(self) -> nn.Module:
        """The model without weights."""
        return build_meta_model(self.config)

    def tensor(self, name: str) -> Tensor:
        """One tensor, by its name in the model, at the checkpoint's dtype."""
        shard, stored = self._where[name]
        try:
            return _read(shard, stored)
        except Exception as error:
            raise UserError(f"cannot read tensor {stored} of {shard}: {first_line(error)}") from None

    def tensor_digest(self, name: str) -> str:
        """A hash of dtype, shape and content. Those of large shards are remembered between runs."""
        if name not in self._digests:
            shard, stored = self._where[name]
            known = cached_digests(shard, lambda: {n: _hash(shard, n) for n in self._heads[shard]})
            self._digests |= {n: known[s] for n, (sh, s) in self._where.items() if sh == shard and s in known}
            assert stored in known
        return self._digests[name]

    @cached_property
    def digest(self) -> str:
        """What this model is: every weight, the config, the tokenizer."""
        state = hashlib.blake2b(digest_size=16)
        for name in sorted(self._where):
            state.update(f"{name}={self.tensor_digest(name)};".encode())
        for file, data in sorted(self.aux_files.items()):
            state.update(f"{file}={hashlib.blake2b(data).hexdigest()};".encode())
        return state.hexdigest()

    @cached_property
    def aux_files(self) -> dict[str, bytes]:
        """Config, tokenizer and processor: the files an artifact needs besides weights."""
        return read_aux_files(self.folder)

    @cached_property
    def original_bytes(self) -> int:
        """Bytes of the weight files."""
        return weight_bytes(self.folder)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The dtype most weights are stored in."""
        counts: dict[str, int] = {}
        for shard, stored in self._where.values():
            dtype, shape = self._heads[shard][stored]
            counts[dtype] = counts.get(dtype, 0) + prod(shape)
        table = {"BF16": torch.bfloat16, "F16": torch.float16}
        return table.get(max(counts, key=lambda key: counts[key]), torch.float32)

    def unquantized_blob(self, group: str) -> bytes:
        """The kept tensors of one layer (or of the rest, group ''), without loss."""
        if group not in self._unquantized:
            self._unquantized[group] = encode_unquantized([self.tensor(name) for name in self.structure.groups[group]])
        return self._unquantized[group]

    def _check_shapes(self, parameters: dict[str, Tensor]) -> None:
        for name, (shard, stored) in self._where.items():
            dtype, shape = self._heads[shard][stored]
            wanted = tuple(parameters[name].shape)
            if shape != wanted:
                raise UserError(f"tensor {stored} of {shard} has shape {shape}; config.json says {wanted}")
            if dtype not in _DTYPES:
                raise UserError(f"tensor {stored} of {shard} is stored as {dtype}; give an uncompressed model")


# Shards are opened anew for each tensor: a lasting memory map would keep every page once read, 16.8 GB in all.
def _read(shard: Path, name: str) -> Tensor:
    with safe_open(shard, framework="pt") as file:
        return file.get_tensor(name)


def _read_head(shard: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor of a shard, by name."""
    try:
        with safe_open(shard, framework="pt") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (view.get_dtype(), tuple(view.get_shape())) for name, view in views.items()}
    except Exception as error:  # safetensors raises a class of its own for a damaged header
        raise UserError(f"{shard} is no safetensors file: {first_line(error)}") from None


def _hash(shard: Path, name: str) -> str:
    tensor = _read(shard, name)
    state = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    state.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _match(parameters: dict[str, Tensor], stored: dict[str, Path]) -> dict[str, tuple[Path, str]]:
    """Where each parameter lies. Checkpoints of another version of transformers nest the same names otherwise."""
    loose = {_bare(name): name for name in stored}
    where = {}
    for name in parameters:
        found = name if name in stored else loose.get(_bare(name))
        if found is None:
            raise UserError(f"the checkpoint holds no tensor {name}, which its config asks for")
        where[name] = (stored[found], found)
    return where


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in {"model", "language_model"})
