"""The exact bytes of any policy's artifact before it is packed: the sum of the bytes of its sections.

Sizes are read once, when the ledger is made; a prediction is then arithmetic and one small manifest, about 2 ms at 132
units, and reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable

from compress.artifact.manifest import Manifest, Section, section_of, unquantized_order
from compress.codecs import codec
from compress.errors import UserError
from compress.model.aux_files import pack_files
from compress.model.source import Source
from compress.model.structure import Structure
from compress.model.vocabulary import FULL, vocabulary_files
from compress.policy.policy import Policy
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, entry


class Ledger:
    """Bytes of units, layers, auxiliary files and whole policies. Make it when the variants are built."""

    def __init__(self, source: Source, store: Store, levels: Iterable[str], calibration: str = "") -> None:
        self._source = source
        self._store = store
        self.calibration = calibration
        self.structure: Structure = source.structure
        self._variants: dict[tuple[str, str, EncodeOptions], Section] = {}
        self._unquantized = {group: section_of(source.unquantized_blob(group)) for group in self.structure.groups}
        self._files: dict[str, Section] = {}
        for level in levels:
            for unit in self.structure.units.values():
                if codec(level).unit_unsupported(unit.shapes, unit.roles) is None:
                    self._look_up(unit.name, level, EncodeOptions(calibration=calibration))

    def size(self, unit: str, level: str, vocabulary: str = FULL) -> int:
        """Bytes of a unit at a level."""
        return self._variant(unit, level, EncodeOptions(vocabulary, self.calibration)).nbytes

    def unquantized_bytes(self, layer: str) -> int:
        """Bytes of the unquantized tensors of a layer; '' for those outside all layers."""
        if layer not in self._unquantized:
            self.structure.layer(layer)
        return self._unquantized[layer].nbytes

    def aux_bytes(self, vocabulary: str = FULL) -> int:
        """Bytes of config, tokenizer and processor."""
        return self._aux_files(vocabulary).nbytes

    def predict(self, policy: Policy) -> int:
        """Bytes of the artifact of a policy: the exact sum of its files."""
        policy.check(self.structure, self._source.digest)
        options = EncodeOptions(policy.vocabulary, policy.calibration)
        units = policy.remaining_units(self.structure)
        manifest = Manifest.of(
            self._source,
            policy,
            unquantized=[self._unquantized[group] for group in unquantized_order(self.structure, policy)],
            units=[self._variant(unit.name, policy.levels[unit.name], options) for unit in units],
            files=self._aux_files(policy.vocabulary),
        )
        return len(manifest.to_bytes()) + manifest.weight_bytes + manifest.files.nbytes

    def _variant(self, unit: str, level: str, options: EncodeOptions) -> Section:
        section = self._look_up(unit, level, options)
        if section is None:
            raise UserError(f"unit {unit} was not yet encoded at {level}; build it first (a search does with --resume)")
        return section

    def _look_up(self, unit: str, level: str, options: EncodeOptions) -> Section | None:
        level = codec(level).level
        name = (unit, level, options)
        if name not in self._variants:
            known = entry(self._source, self.structure.unit(unit), level, options, self._store)
            if known is None:
                return None
            self._variants[name] = Section(*known)
        return self._variants[name]

    def _aux_files(self, vocabulary: str) -> Section:
        if vocabulary not in self._files:
            self._files[vocabulary] = section_of(pack_files(vocabulary_files(self._source, vocabulary, self._store)))
        return self._files[vocabulary]
