"""The embedded model in memory, loaded once a test session."""

from __future__ import annotations

import pytest
import torch

import compress
import embedded


@pytest.fixture(scope="session")
def embedded_resident(embedded_store: compress.Store) -> compress.Resident:
    torch.set_num_threads(1)
    return compress.Resident(compress.Source.open(embedded.MODEL), embedded_store)


@pytest.fixture
def resident(embedded_resident: compress.Resident) -> compress.Resident:
    """As it is shipped, whatever was done to it before."""
    embedded_resident.restore()
    return embedded_resident
