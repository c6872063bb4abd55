"""A tiny Qwen2-Audio with its processor, as plain transformers saves one; made once a test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compress.tiny import save_tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")
