"""For all tests: no time limits, and a store for what they encode of the embedded model, the same whoever asks."""

from __future__ import annotations

import os

import hypothesis
import pytest

import compress

# A machine under load is no defect. In CI the examples are the same each time.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> compress.Store:
    """One for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return compress.Store((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "embedded-store")
