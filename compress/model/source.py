"""A checkpoint on disk, read one tensor at a time from its safetensors shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from compress.model.meta_model import build_meta_model, read_config
from compress.model.structure import Structure, read_structure
from compress.models import weight_bytes, weight_files
from compress.user_cache import cached, keep

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_CACHED_FROM = 64 << 20  # bytes of a weight file


_RECOMPUTED = ("inv_freq", "position_ids", "masked_bias", "attn.bias")  # buffers that earlier versions stored


class Source:
    """An original model: its structure, tensors and auxiliary files. Open one with `Source.open(folder)`."""

    adapters: Mapping[str, Adapter] = {}  # by unit; a recovered model may have some
    replaced: Mapping[str, Any] = {}  # TrainedPayload by unit; a recovered model may have some

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self.shards = weight_files(folder)
        self._unquantized: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self.vocabularies: dict[str, Any] = {}  # TrimmedVocabulary by name, filled by compress.model.vocabulary
        self._headers = {shard: _read_header(shard) for shard in self.shards}
        stored = {name: shard for shard, header in self._headers.items() for name in header}
        model = self.meta_model()
        self.structure: Structure = read_structure(model)
        # Shard and stored name of each parameter. Other versions of transformers nest the same names differently.
        self._locations: dict[str, tuple[Path, str]] = {}
        loose = {bare_name(name): name for name in stored}
        for name, parameter in model.named_parameters():
            stored_name = name if name in stored else loose.get(bare_name(name))
            if stored_name is None:
                raise UserError(f"the checkpoint holds no tensor {name}, which its config asks for")
            shard = stored[stored_name]
            dtype, shape = self._headers[shard][stored_name]
            where, expected = f"tensor {stored_name} of {shard}", tuple(parameter.shape)
            if shape != expected:
                raise UserError(f"{where} has shape {shape}; by config.json it should be {expected}")
            if dtype not in _DTYPES:
                raise UserError(f"{where} is stored as {dtype}; give an uncompressed model")
            self._locations[name] = shard, stored_name
        self._check_unused(stored, model)

    @classmethod
    def open(cls, folder: str | Path) -> Source:
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"no model at {folder}; give the folder of a transformers checkpoint")
        return cls(folder)

    def _check_unused(self, stored: Mapping[str, Path], model: nn.Module) -> None:
        """Refuses stored weights that the model has no place for: it would be another model than was saved.

        A head that is stored although the config ties it to the embedding may be a copy of the embedding.
        """
        used = {name for _, name in self._locations.values()}
        buffers = {bare_name(name) for name, _ in model.named_buffers()}
        for name in sorted(stored.keys() - used):
            if bare_name(name) in buffers or name.endswith(_RECOMPUTED):
                continue
            tensor = _read(stored[name], name)
            if self.structure.tied and any(
                self._headers[shard][same][1] == tuple(tensor.shape) and torch.equal(_read(shard, same), tensor)
                for shard, same in self._locations.values()
            ):
                continue
            raise UserError(
                f"tensor {name} of {stored[name]} has no place in the model of its config.json: is tie_word_embeddings"
                " as it should be?"
            )

    def meta_model(self) -> nn.Module:
        """The model without weights."""
        return build_meta_model(self.config)

    def tensor(self, name: str) -> Tensor:
        """One tensor, by its name in the model, at the checkpoint's dtype."""
        shard, stored = self._locations[name]
        try:
            return _read(shard, stored)
        except Exception as error:
            raise UserError(f"cannot read tensor {stored} of {shard}: {first_line(error)}") from None

    def stored_dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor in the checkpoint."""
        shard, stored = self._locations[name]
        return _DTYPES[self._headers[shard][stored][0]]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor by its name in the model, one at a time."""
        for name in self.structure.tensors:
            yield name, self.tensor(name)

    def tensor_digest(self, name: str) -> str:
        """A hash of dtype, shape and content. Those of large shards are cached between runs."""
        if name not in self._digests:
            shard, stored = self._locations[name]
            digests = _cached_digests(shard, lambda: {n: tensor_hash(_read(shard, n)) for n in self._headers[shard]})
            self._digests |= {n: digests[s] for n, (sh, s) in self._locations.items() if sh == shard and s in digests}
            assert stored in digests
        return self._digests[name]

    @cached_property
    def digest(self) -> str:
        """Identifies the model: a hash of every weight and every auxiliary file.

        Weights go by their names in the checkpoint, which do not depend on the version of transformers.
        """
        state = hashlib.blake2b(digest_size=16)
        for stored, name in sorted((stored, name) for name, (_, stored) in self._locations.items()):
            state.update(f"{stored}={self.tensor_digest(name)};".encode())
        for file, data in sorted(self.aux_files.items()):
            state.update(f"{file}={hashlib.blake2b(data).hexdigest()};".encode())
        return state.hexdigest()

    @cached_property
    def aux_files(self) -> dict[str, bytes]:
        """Config, tokenizer and processor: what an artifact needs besides weights."""
        return read_aux_files(self.folder)

    @cached_property
    def original_bytes(self) -> int:
        """Bytes of the weight files."""
        return weight_bytes(self.folder)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The dtype most weights are stored in."""
        counts: Counter[str] = Counter()
        for shard, stored in self._locations.values():
            dtype, shape = self._headers[shard][stored]
            counts[dtype] += prod(shape)
        return {"BF16": torch.bfloat16, "F16": torch.float16}.get(counts.most_common(1)[0][0], torch.float32)

    def unquantized_blob(self, group: str) -> bytes:
        """The unquantized tensors of one layer, losslessly encoded; those outside all layers for group ''."""
        if group not in self._unquantized:
            self._unquantized[group] = encode_unquantized([self.tensor(name) for name in self.structure.groups[group]])
        return self._unquantized[group]


# Shards are opened again for each tensor: a lasting memory map would hold every page read, 16.8 GB in total.
def _read(shard: Path, name: str) -> Tensor:
    with safe_open(shard, framework="pt") as file:
        return file.get_tensor(name)


def _read_header(shard: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor of a shard, by name."""
    try:
        with safe_open(shard, framework="pt") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (view.get_dtype(), tuple(view.get_shape())) for name, view in views.items()}
    except Exception as error:  # safetensors raises a class of its own for a damaged header
        raise UserError(f"{shard} is no safetensors file: {first_line(error)}") from None


def _cached_digests(file: Path, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Digests by tensor of one weight file, computed where the cache lacks them: hashing 16 GB takes half a minute.

    A large file is identified by its path, size and time of last change; small ones are hashed each time.
    """
    state = file.stat()
    if state.st_size < _CACHED_FROM:
        return compute()
    identity = f"{file.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    known = cached("digests", identity)
    if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()):
        return known
    digests = compute()
    keep("digests", identity, digests)
    return digests


def tensor_hash(tensor: Tensor) -> str:
    """A hash of dtype, shape and content."""
    state = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    state.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def bare_name(name: str) -> str:
    """A tensor's name without the parts that versions of transformers nest differently."""
    return ".".join(part for part in name.split(".") if part not in {"model", "language_model"})
