"""Variants: one unit encoded at one level, by a pure function, so that a cluster can spread the work."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from compress.calibration.hessians import statistics
from compress.codecs import Codec, codec
from compress.codecs.encoded import refuse_empty, refuse_values
from compress.codecs.raw import Raw
from compress.codecs.statistics import Statistics
from compress.errors import UserError
from compress.model.source import Source
from compress.model.structure import Unit
from compress.model.vocabulary import FULL, TrimmedVocabulary, trimmed_vocabulary
from compress.policy.store import Store

_FORMAT = 3  # increase it when a codec writes other bytes for a level than before


@dataclass(frozen=True)
class Variant:
    """The bytes of one unit at one level, and the store's key for them."""

    unit: str
    level: str
    key: str
    nbytes: int


@dataclass(frozen=True)
class EncodeOptions:
    """The settings besides the level that a variant depends on."""

    vocabulary: str = FULL
    calibration: str = ""


def unit_vocabulary(source: Source, unit: Unit, vocabulary: str, store: Store | None) -> TrimmedVocabulary | None:
    """The vocabulary that trims a unit's rows; None for units without one row a token, and for `full`."""
    return trimmed_vocabulary(source, vocabulary, store) if unit.kind in {"embedding", "head"} else None


def variant_key(
    source: Source, unit: Unit, level: str, options: EncodeOptions = EncodeOptions(), store: Store | None = None
) -> str:
    """The content address: a hash of the tensors, the level, and everything else that the bytes depend on."""
    chosen = codec(level)
    vocabulary = unit_vocabulary(source, unit, options.vocabulary, store)
    facts = {
        "format": _FORMAT,
        "level": chosen.level,
        "tensors": [[role, source.tensor_digest(t)] for role, t in zip(unit.roles, unit.tensors, strict=True)],
        "calibration": options.calibration if chosen.uses_hessian else "",
        "vocabulary": FULL if vocabulary is None else vocabulary.digest,
    }
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=20).hexdigest()


def build(
    source: Source,
    unit_name: str,
    level: str,
    store: Store,
    *,
    options: EncodeOptions = EncodeOptions(),
    device: str | torch.device = "cpu",
) -> Variant:
    """Encode one unit at one level, unless the store holds it undamaged. For several levels use a `UnitEncoder`."""
    return UnitEncoder(source, source.structure.unit(unit_name), store, options, device).build(level)


class UnitEncoder:
    """Encodes one unit, at one level after another: its weights and statistics are on the device meanwhile.

    The store holds the calibration statistics and `top:` vocabularies that `options` may name. Memory on the device:
    the weights at the checkpoint's dtype, each Hessian, of one Hessian at a time its factor (some 50 bytes an element
    while it is made, 12 later), and 0.5 GB for the weights in work.
    """

    def __init__(
        self,
        source: Source,
        unit: Unit,
        store: Store | None,
        options: EncodeOptions = EncodeOptions(),
        device: str | torch.device = "cpu",
    ) -> None:
        self.source = source
        self.unit = unit
        self.store = store
        self.options = options
        self.device = torch.device(device)
        self.vocabulary = unit_vocabulary(source, unit, options.vocabulary, store)
        self.resized = unit if self.vocabulary is None else self.vocabulary.resize(unit)

    def in_store(self, level: str) -> bool:
        """Whether the store knows the variant; a damaged one counts, and is encoded again by `build`."""
        assert self.store is not None
        return entry(self.source, self.unit, level, self.options, self.store) is not None

    def build(self, level: str) -> Variant:
        """The variant, encoded into the store unless that holds it undamaged."""
        assert self.store is not None
        note = self.store.entry_of_original(self._key(level)) if self._is_original(level) else None
        nbytes = len(self.payload(level)) if note is None else note[0]
        return Variant(self.unit.name, codec(level).level, self._key(level), nbytes)

    def _key(self, level: str) -> str:
        return variant_key(self.source, self.unit, level, self.options, self.store)

    def _is_original(self, level: str) -> bool:
        return is_original(self.source, self.unit, level, self.options)

    def payload(self, level: str) -> bytes:
        """The bytes of a variant from the store; encoded, and added to the store, if it lacks them."""
        if self.store is None:
            return self.encode(level)
        key = self._key(level)
        payload = self.store.get(key)
        if payload is None:
            payload = self.encode(level)
            if self._is_original(level):
                self.store.put_original(key, payload)
            else:
                self.store.put(key, payload)
        return payload

    def encode(self, level: str) -> bytes:
        """The bytes, without a look into the store."""
        if self.unit.name in self.source.replaced:
            replaced = self.source.replaced[self.unit.name]
            return bytes(replaced.at(self.unit.name, codec(level).level, self.options.vocabulary))
        chosen = codec_of_unit(self.resized, level)
        known: list[Statistics | None] = [None] * len(self.weights)
        if self.options.calibration and chosen.uses_hessian:
            known = self.known
        payload = chosen.encode(self.weights, known, self.unit.roles)
        refuse_empty(self.unit.weights, len(payload), f"unit {self.unit.name}")
        return payload

    def decode(self, payload: bytes, level: str, dtype: torch.dtype) -> list[Tensor]:
        """The matrices of a variant, on the device."""
        return decode_unit(payload, self.resized, level, dtype, self.device)

    @cached_property
    def weights(self) -> list[Tensor]:
        weights = []
        for name in self.unit.tensors:
            weight = self.source.tensor(name).to(self.device)
            refuse_values(weight, f"tensor {name}")
            weights.append(weight if self.vocabulary is None else weight[self._ids])
        return weights

    @cached_property
    def known(self) -> list[Statistics | None]:
        """The statistics of the calibration, of each matrix; None without one."""
        if not self.options.calibration:
            return [None] * len(self.unit.tensors)
        if self.store is None:
            raise UserError(f"this policy needs calibration {self.options.calibration}; name the store that holds it")
        known = statistics(self.store.root, self.options.calibration, self.unit, self.device)
        return known if self.vocabulary is None else [None if k is None else k.of(self._ids) for k in known]

    @cached_property
    def _ids(self) -> Tensor:
        assert self.vocabulary is not None
        return torch.from_numpy(self.vocabulary.ids).to(self.device)


def is_original(source: Source, unit: Unit, level: str, options: EncodeOptions = EncodeOptions()) -> bool:
    """Whether a variant is the unit as the checkpoint has it: the store and a model in memory need no copy of it."""
    chosen = codec(level)
    if not isinstance(chosen, Raw) or unit.name in source.replaced or unit.name in source.adapters:
        return False
    whole = options.vocabulary == FULL or unit.kind not in {"embedding", "head"}
    return whole and all(source.stored_dtype(name) == chosen.dtype for name in unit.tensors)


def entry(source: Source, unit: Unit, level: str, options: EncodeOptions, store: Store) -> tuple[int, bytes] | None:
    """Bytes and checksum of a variant that was built, without reading it."""
    key = variant_key(source, unit, level, options, store)
    note = store.entry_of_original(key) if is_original(source, unit, level, options) else None
    return note or store.entry(key)


def variant_payload(
    source: Source, unit: Unit, level: str, store: Store, options: EncodeOptions = EncodeOptions()
) -> bytes:
    """The bytes of a variant from the store; encoded, and added to the store, if it lacks them."""
    return UnitEncoder(source, unit, store, options).payload(level)


def encode_unit(
    source: Source, unit: Unit, level: str, store: Store | None, options: EncodeOptions = EncodeOptions()
) -> bytes:
    """Encode a unit, without a look into the store."""
    return UnitEncoder(source, unit, store, options).encode(level)


def decode_unit(
    payload: bytes,
    unit: Unit,
    level: str,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
    wanted: torch.dtype | None = None,
) -> list[Tensor]:
    """The matrices of a unit from the bytes of a variant, in the order of `unit.tensors`.

    `dtype` is the checkpoint's; on a GPU the weights become weights there, rounded to the dtype that is wanted.
    """
    chosen = codec_of_unit(unit, level)
    return chosen.weights(chosen.read(payload, unit.shapes), unit.shapes, dtype, torch.device(device), wanted)


def codec_of_unit(unit: Unit, level: str) -> Codec:
    """The codec of a level. Refuses a unit that it does not support."""
    chosen = codec(level)
    reason = chosen.unit_unsupported(unit.shapes, unit.roles)
    if reason:
        raise UserError(f"level {level} does not fit unit {unit.name}: {reason}")
    return chosen
