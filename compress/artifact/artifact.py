"""An artifact on disk: three plain files whose every size and checksum is verified before use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.artifact.adapters import Adapter, merge_adapter
from compress.artifact.assemble import load_processor, prepare_model
from compress.artifact.manifest import FILES, MANIFEST, WEIGHTS, Manifest, Section, unquantized_order
from compress.artifact.unquantized import decode_unquantized
from compress.codecs.lossless import check_ratio
from compress.codecs.raw import DTYPES
from compress.errors import UserError, parse_json
from compress.model.aux_files import unpack_files
from compress.model.layers import LayerDropper
from compress.model.meta_model import build_meta_model, config_from_dict, set_tensor
from compress.model.source import Source
from compress.model.structure import Structure, Unit, read_structure
from compress.policy.store import checksum
from compress.policy.variant import decode_unit

_MOST_MANIFEST = 16 << 20


class Artifact:
    """A compressed model on disk. Open one with `Artifact.open(folder)`; tensors are decoded by `tensors()` alone."""

    def __init__(self, folder: Path, manifest: Manifest, manifest_bytes: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self.manifest_bytes = manifest_bytes
        self.policy = manifest.policy
        self.aux_files = unpack_files(self._read(FILES, 0, manifest.files))
        config = parse_json(
            self.aux_files.get("config.json", b""), f"damaged artifact {folder}: it holds no config.json"
        )
        if not isinstance(config, dict):
            raise UserError(f"damaged artifact {folder}: its config.json is not a JSON object")
        self.config = config_from_dict(config)
        model = self.meta_model()
        self.structure: Structure = read_structure(model)
        check_ratio(self.structure.parameters, manifest.weight_bytes)
        self.policy.check(self.structure)
        self.units: list[Unit] = self.policy.remaining_units(self.structure)
        self.groups = unquantized_order(self.structure, self.policy)
        if len(self.units) != len(manifest.units) or len(self.groups) != len(manifest.unquantized):
            raise UserError(
                f"damaged artifact {folder}: its manifest holds {len(manifest.units)} units, "
                f"its policy {len(self.units)}"
            )
        adapted = [adapter.unit for adapter in manifest.adapters]
        if adapted != [unit.name for unit in self.units if unit.name in adapted]:
            raise UserError(f"damaged artifact {folder}: its adapters are not in the order of its units")
        self._shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}

    @classmethod
    def open(cls, folder: str | Path) -> Artifact:
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise UserError(f"no artifact at {folder}: there is no {MANIFEST} in it")
        sizes = _regular_files(folder)
        if sizes[MANIFEST] > _MOST_MANIFEST:
            raise UserError(f"damaged artifact {folder}: a manifest of {sizes[MANIFEST]} bytes")
        try:
            manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
        except UserError as error:
            raise UserError(f"{folder / MANIFEST}: {error}; export or copy the artifact again") from None
        for name, expected in ((WEIGHTS, manifest.weight_bytes), (FILES, manifest.files.nbytes)):
            if sizes[name] != expected:
                raise UserError(
                    f"damaged artifact {folder}: {name} has {sizes[name]} bytes, its manifest says {expected}"
                )
        return cls(folder, manifest, sizes[MANIFEST])

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return self.manifest_bytes + self.manifest.weight_bytes + self.manifest.files.nbytes

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the original's weights."""
        return DTYPES[self.manifest.dtype]

    def meta_model(self) -> nn.Module:
        """The original's model without weights."""
        return build_meta_model(self.config)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of every remaining layer, by its name in the original; one unit is decoded at a time."""
        payloads = self._weights(len(self.groups) + len(self.units))
        adapters = {a.unit: Adapter(a.unit, a.level, a.rank, next(payloads)) for a in self.manifest.adapters}
        sections = self._weights()
        for group in self.groups:
            names = self.structure.groups[group]
            values = decode_unquantized(next(sections), [self._shapes[name] for name in names])
            yield from zip(names, values, strict=True)
        for unit in self.units:
            values = decode_unit(next(sections), unit, self.policy.levels[unit.name], self.dtype)
            yield from zip(unit.tensors, merge_adapter(adapters, unit, values), strict=True)

    def _weights(self, first: int = 0) -> Iterator[bytes]:
        """The sections of the weights from number `first` on, each compared with its checksum."""
        sections = self.manifest.weight_sections
        offset = sum(section.nbytes for section in sections[:first])
        for section in sections[first:]:
            yield self._read(WEIGHTS, offset, section)
            offset += section.nbytes

    def _read(self, name: str, offset: int, section: Section) -> bytes:
        with open(self.folder / name, "rb") as file:
            file.seek(offset)
            data = file.read(section.nbytes)
        if len(data) != section.nbytes or checksum(data) != section.checksum:
            end = offset + section.nbytes
            raise UserError(f"damaged artifact {self.folder}: bytes {offset} to {end} of {name} have changed")
        return data


def load(
    artifact: str | Path | Artifact | Source, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> tuple[Any, Any]:
    """The model of an artifact or an original, ready for `generate`, and its processor (or tokenizer).

    The default dtype is float32 on a CPU and the original's elsewhere.
    """
    opened = Artifact.open(artifact) if isinstance(artifact, (str, Path)) else artifact
    model = opened.meta_model()
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else opened.dtype
    for name, value in opened.tensors():
        set_tensor(model, name, value.to(device, dtype))
    if isinstance(opened, Artifact):
        LayerDropper(model, opened.structure).set_dropped(opened.policy.dropped)
    prepare_model(model, device, opened.aux_files)
    return model, load_processor(opened.aux_files)


def _regular_files(folder: Path) -> dict[str, int]:
    """Sizes by name. Refuses anything that is not one of the three plain files."""
    sizes = {}
    for entry in os.scandir(folder):
        if entry.name not in (MANIFEST, WEIGHTS, FILES):
            raise UserError(f"{folder} holds {entry.name[:60]!r}, which does not belong to an artifact; remove it")
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{folder}: {entry.name} is not a plain file")
        sizes[entry.name] = status.st_size
    missing = [name for name in (MANIFEST, WEIGHTS, FILES) if name not in sizes]
    if missing:
        raise UserError(f"damaged artifact {folder}: {missing[0]} is missing")
    return sizes
