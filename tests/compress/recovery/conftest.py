"""The tiny Qwen2-Audio of the compress tests, its source, a store, and a policy that drops a layer."""

from __future__ import annotations

from pathlib import Path

import pytest

import compress
from tests.compress.tiny import save_tiny


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> compress.Source:
    return compress.Source.open(save_tiny(tmp_path_factory.mktemp("recovery") / "tiny"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> compress.Store:
    return compress.Store(tmp_path_factory.mktemp("recovery-store"))


@pytest.fixture
def policy(source: compress.Source) -> compress.Policy:
    """grid where it fits, nf4 for attention, one LM layer dropped, one FFN pruned."""
    levels = {}
    for name, unit in source.structure.units.items():
        levels[name] = "nf4" if unit.kind == "attention" else "grid@4" if unit.kind == "mlp" else "raw:bf16"
    levels["lm.0.mlp"] = "ffn:0.5+rtn:8:g32"
    return compress.Policy(model=source.digest, levels=levels, dropped=("lm.2",))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
