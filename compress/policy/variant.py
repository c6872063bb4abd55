"""Variants: one unit encoded at one level, by a pure function, so that a cluster can spread the work."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.calibration.hessians import statistics
from compress.codecs import Codec, codec
from compress.codecs.encoded import refuse_empty, refuse_values
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
    source: Source, unit_name: str, level: str, store: Store, *, options: EncodeOptions = EncodeOptions()
) -> Variant:
    """Encode one unit at one level, unless the store holds it undamaged."""
    unit = source.structure.unit(unit_name)
    level = codec(level).level
    payload = variant_payload(source, unit, level, store, options)
    key = variant_key(source, unit, level, options, store)
    return Variant(unit_name, level, key, len(payload))


def variant_payload(
    source: Source, unit: Unit, level: str, store: Store, options: EncodeOptions = EncodeOptions()
) -> bytes:
    """The bytes of a variant from the store; encoded, and added to the store, if it lacks them."""
    key = variant_key(source, unit, level, options, store)
    payload = store.get(key)
    if payload is None:
        payload = encode_unit(source, unit, level, store, options)
        store.put(key, payload)
    return payload


def encode_unit(
    source: Source, unit: Unit, level: str, store: Store | None, options: EncodeOptions = EncodeOptions()
) -> bytes:
    """Encode a unit. The store holds the calibration statistics and `top:` vocabularies that `options` may name."""
    if unit.name in source.replaced:
        return bytes(source.replaced[unit.name].at(unit.name, codec(level).level, options.vocabulary))
    vocabulary = unit_vocabulary(source, unit, options.vocabulary, store)
    chosen = codec_of_unit(unit if vocabulary is None else vocabulary.resize(unit), level)
    weights = []
    for name in unit.tensors:
        weight = source.tensor(name)
        refuse_values(weight, f"tensor {name}")
        weights.append(weight if vocabulary is None else weight[torch.from_numpy(vocabulary.ids)])
    known: list[Statistics | None] = [None] * len(weights)
    if options.calibration and chosen.uses_hessian:
        if store is None:
            raise UserError(f"this policy needs calibration {options.calibration}; name the store that holds it")
        known = statistics(store.root, options.calibration, unit)
    if vocabulary is not None:
        known = [None if k is None else _of_rows(k, torch.from_numpy(vocabulary.ids)) for k in known]
    payload = chosen.encode(weights, known, unit.roles)
    refuse_empty(unit.weights, len(payload), f"unit {unit.name}")
    return payload


def _of_rows(known: Statistics, ids: Tensor) -> Statistics:
    return Statistics(known.hessian, None if known.importance is None else known.importance[ids])


def decode_unit(payload: bytes, unit: Unit, level: str, dtype: torch.dtype) -> list[Tensor]:
    """The matrices of a unit from the bytes of a variant, in the order of `unit.tensors`."""
    return codec_of_unit(unit, level).decode(payload, unit.shapes, dtype)


def codec_of_unit(unit: Unit, level: str) -> Codec:
    """The codec of a level. Refuses a unit that it does not support."""
    chosen = codec(level)
    reason = chosen.unit_unsupported(unit.shapes, unit.roles)
    if reason:
        raise UserError(f"level {level} does not fit unit {unit.name}: {reason}")
    return chosen
