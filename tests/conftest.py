"""A store for what tests encode of the embedded model, which is the same whoever asks."""

from __future__ import annotations

import os

import pytest

import compress


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> compress.Store:
    """One for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return compress.Store((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "embedded-store")
