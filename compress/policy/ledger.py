"""What any policy weighs, to the byte, before anything is packed: the sum of what its parts weigh.

Everything is read once, when the ledger is made; a prediction is then arithmetic and one small manifest,
well under a few milliseconds at 132 units, and touches no disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from compress.artifact.manifest import Manifest, Section, adapter_parts, unit_order, unquantized_order
from compress.codecs import codec
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.model.aux_files import pack_files
from compress.model.source import Source
from compress.model.structure import Structure
from compress.model.vocabulary import FULL, vocabulary_files
from compress.policy.policy import Policy
from compress.policy.store import Store, checksum
from compress.policy.variant import EncodeOptions, variant_key


class Ledger:
    """Bytes of units, layers, files and whole policies. Make it when the variants are built."""

    def __init__(self, source: Source, store: Store, levels: Iterable[str], calibration: str = "") -> None:
        self._source = source
        self._store = store
        self.calibration = calibration
        self.structure: Structure = source.structure
        self._levels = tuple(dict.fromkeys(codec(level).level for level in levels))
        self._fitting = {
            unit.name: tuple(
                level for level in self._levels if codec(level).unit_unsupported(unit.shapes, unit.roles) is None
            )
            for unit in self.structure.units.values()
        }
        self._variants: dict[tuple[str, str, EncodeOptions], Section] = {}
        self._unquantized = {group: _part(source.unquantized_blob(group)) for group in self.structure.groups}
        self._files: dict[str, Section] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again for variants that were not there."""
        for unit, levels in self._fitting.items():
            for level in levels:
                self._find(unit, level, EncodeOptions(calibration=self.calibration))

    def levels(self, unit: str) -> tuple[str, ...]:
        """The levels that fit a unit, in the order they were given."""
        self.structure.unit(unit)
        return self._fitting[unit]

    def size(self, unit: str, level: str, vocabulary: str = FULL) -> int:
        """Bytes of a unit at a level."""
        return self.part(unit, level, EncodeOptions(vocabulary, self.calibration)).nbytes

    def unquantized_bytes(self, layer: str) -> int:
        """Bytes of the tensors that are kept as they are in a layer; '' for those outside of all layers."""
        if layer not in self._unquantized:
            self.structure.layer(layer)
        return self._unquantized[layer].nbytes

    def aux_bytes(self, vocabulary: str = FULL) -> int:
        """Bytes of config, tokenizer and processor."""
        return self.files(vocabulary).nbytes

    def predict(self, policy: Policy) -> int:
        """Bytes of the artifact of a policy: the sum of its files, exactly."""
        manifest = self.manifest(policy)
        return len(manifest.to_bytes()) + manifest.weight_bytes + manifest.files.nbytes

    def manifest(self, policy: Policy) -> Manifest:
        policy.check(self.structure, self._source.digest)
        options = EncodeOptions(policy.vocabulary, policy.calibration)
        order = unit_order(self.structure, policy)
        return Manifest(
            policy=policy,
            dtype=FORMATS[self._source.dtype],
            original_bytes=self._source.original_bytes,
            unquantized=tuple(self._unquantized[group] for group in unquantized_order(self.structure, policy)),
            units=tuple(self.part(unit.name, policy.levels[unit.name], options) for unit in order),
            files=self.files(policy.vocabulary),
            adapters=adapter_parts(self._source.adapters, order),
        )

    def part(self, unit: str, level: str, options: EncodeOptions) -> Section:
        found = self._variants.get((unit, level, options)) or self._find(unit, level, options)
        if found is None:
            raise UserError(f"unit {unit} was not yet encoded at {level}; build it first")
        return found

    def files(self, vocabulary: str) -> Section:
        if vocabulary not in self._files:
            self._files[vocabulary] = _part(pack_files(vocabulary_files(self._source, vocabulary, self._store)))
        return self._files[vocabulary]

    def _find(self, unit: str, level: str, options: EncodeOptions) -> Section | None:
        level = codec(level).level
        name = (unit, level, options)
        if name not in self._variants:
            entry = self._store.entry(variant_key(self._source, self.structure.unit(unit), level, options, self._store))
            if entry is None:
                return None
            self._variants[name] = Section(*entry)
        return self._variants[name]


def _part(data: bytes) -> Section:
    return Section(len(data), checksum(data))
