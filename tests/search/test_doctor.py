"""The doctor: says what is wrong and what to do, and is itself never ill."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import doctor
from search.doctor import check_comet, check_disk, check_model, check_packages, numbers


def test_versions_compare_as_numbers() -> None:
    assert numbers("2.13.0+cpu") == (2, 13, 0)
    assert numbers("2.9") < numbers("2.13")


def test_installed_packages_are_well_and_missing_ones_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [f for f in check_packages() if f.remedy]
    monkeypatch.setattr(doctor, "NEEDED", {"torch": "999", "no-such-package": "1"})
    assert all("pip install" in finding.remedy for finding in check_packages())


def test_model() -> None:
    assert not check_model("embedded").remedy
    assert "--model" in check_model("/not/there").remedy


def test_comet_that_is_not_there() -> None:
    assert "--comet" in check_comet("/not/there.ckpt").remedy


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not check_disk(str(tmp_path / "not" / "yet")).remedy
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 1e9)
    assert "free some" in check_disk(str(tmp_path)).remedy
