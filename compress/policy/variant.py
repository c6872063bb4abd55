"""Variants: one unit encoded at one level. Made by a pure function, so that a cluster can spread the work."""

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
from compress.policy.store import Store, checksum

_FORMAT = 3  # raise it when a codec writes other bytes than before for the same level


@dataclass(frozen=True)
class Variant:
    """What a unit costs at a level, and where the store keeps it."""

    unit: str
    level: str
    key: str
    nbytes: int
    sum: bytes


@dataclass(frozen=True)
class EncodeOptions:
    """The settings besides the level that a variant depends on."""

    vocabulary: str = FULL
    calibration: str = ""


def unit_vocabulary(source: Source, unit: Unit, vocabulary: str, store: Store | None) -> TrimmedVocabulary | None:
    """The vocabulary that decides a unit's rows; None for a unit that has none, and when all of it stays."""
    return trimmed_vocabulary(source, vocabulary, store) if unit.kind in {"embedding", "head"} else None


def variant_key(
    source: Source, unit: Unit, level: str, options: EncodeOptions = EncodeOptions(), store: Store | None = None
) -> str:
    """The content address: the tensors, the level, and whatever else decides the bytes."""
    chosen = codec(level)
    rows = unit_vocabulary(source, unit, options.vocabulary, store)
    facts = {
        "format": _FORMAT,
        "level": chosen.level,
        "tensors": [[role, source.tensor_digest(t)] for role, t in zip(unit.roles, unit.tensors, strict=True)],
        "calibration": options.calibration if chosen.uses_hessian else "",
        "vocabulary": FULL if rows is None else rows.digest,
    }
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=20).hexdigest()


def build(
    source: Source, unit_name: str, level: str, store: Store, *, options: EncodeOptions = EncodeOptions()
) -> Variant:
    """Encode one unit at one level, unless the store holds it already and undamaged."""
    unit = source.structure.unit(unit_name)
    level = codec(level).level
    key = variant_key(source, unit, level, options, store)
    payload = store.get(key)
    if payload is None:
        payload = encode_unit(source, unit, level, store, options)
        store.put(key, payload)
    return Variant(unit_name, level, key, len(payload), checksum(payload))


def encode_unit(
    source: Source, unit: Unit, level: str, store: Store | None, options: EncodeOptions = EncodeOptions()
) -> bytes:
    """The bytes of a variant. The store is asked for calibration statistics, if `options` name any."""
    if unit.name in source.replaced:
        return bytes(source.replaced[unit.name].at(unit.name, codec(level).level, options.vocabulary))
    rows = unit_vocabulary(source, unit, options.vocabulary, store)
    chosen = codec_of_unit(unit if rows is None else rows.unit(unit), level)
    weights = []
    for name in unit.tensors:
        weight = source.tensor(name)
        refuse_values(weight, f"tensor {name}")
        weights.append(weight if rows is None else weight[torch.from_numpy(rows.ids)])
    known: list[Statistics | None] = [None] * len(weights)
    if options.calibration and chosen.uses_hessian:
        if store is None:
            raise UserError(f"this policy needs calibration {options.calibration}; name the store that holds it")
        known = statistics(store.root, options.calibration, unit)
    if rows is not None:
        known = [None if k is None else _of_rows(k, torch.from_numpy(rows.ids)) for k in known]
    payload = chosen.encode(weights, known, unit.roles)
    refuse_empty(unit.weights, len(payload), f"unit {unit.name}")
    return payload


def _of_rows(known: Statistics, ids: Tensor) -> Statistics:
    return Statistics(known.hessian, None if known.importance is None else known.importance[ids])


def decode_unit(payload: bytes, unit: Unit, level: str, dtype: torch.dtype) -> list[Tensor]:
    """The matrices of a unit from the bytes of a variant, in the order of `unit.tensors`."""
    return codec_of_unit(unit, level).decode(payload, unit.shapes, dtype)


def codec_of_unit(unit: Unit, level: str) -> Codec:
    """The codec of a level, if it fits the unit."""
    chosen = codec(level)
    reason = chosen.unit_unsupported(unit.shapes, unit.roles)
    if reason:
        raise UserError(f"level {level} does not fit unit {unit.name}: {reason}")
    return chosen
