"""Bits a weight by a level's name: never tighter than what units really take, and one answer for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

import compress
import embedded
from compress.codecs.levels import bits_of, describe_bits
from compress.errors import UserError

LEVELS = ("raw:bf16", "int8", "nf4", "digits:2", "rtn:4:g32", "grid@2:trellis", "ffn:0.5+digits:2")


@pytest.fixture(scope="module")
def source() -> compress.Source:
    return compress.Source.open(embedded.MODEL)


@pytest.mark.parametrize("level", [*LEVELS, "grid@1", "digits:3", "raw:fp16", "raw:fp32", "ffn:0.8+grid@2", "grid@2"])
def test_real_variants_lie_within_the_bits_of_their_level(level: str, source: compress.Source, tmp_path: Path) -> None:
    store = compress.Store(tmp_path)
    for name in ("lm.1.attention", "lm.5.mlp", "projector", "audio.2.mlp"):
        unit = source.structure.unit(name)
        try:
            size = compress.build(source, name, level, store).nbytes
        except UserError:
            continue  # does not fit
        bits = bits_of(level)
        assert unit.weights * bits.least / 8 <= size <= unit.weights * bits.most / 8 + 64 * len(unit.shapes)


@pytest.mark.parametrize(
    ("level", "nominal"),
    [
        ("grid@2.5", 2.5),
        ("grid@2.5:trellis", 2.5),
        ("raw:fp16", 16.0),
        ("raw:fp32", 32.0),
        ("nf4", 4.13),
        ("rtn:4:g64", 4.5),
        ("digits:2", None),
        ("ffn:0.5+grid@2", 1.0),
        ("ffn:0.5+digits:2", None),
        ("mine@3", None),
    ],
)
def test_the_usual_bits_lie_between_the_least_and_the_most(level: str, nominal: float | None) -> None:
    bits = bits_of(level)
    assert bits.nominal == nominal
    assert bits.least <= (bits.most if nominal is None else nominal) <= bits.most


def test_where_the_weights_decide_the_range_is_named() -> None:
    assert describe_bits("digits:2") == "0.5–16.5"
    assert describe_bits("grid@2.25:trellis") == "2.25"
