"""--doctor: says what is missing and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import doctor
from search.command_line import parser
from search.doctor import check_comet, check_disk, check_model, check_packages, numbers


def test_versions_compare_as_numbers() -> None:
    assert numbers("2.13.0+cpu") == (2, 13, 0)
    assert numbers("2.9") < numbers("2.13")


def test_old_and_missing_packages_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [f for f in check_packages() if f.remedy]
    monkeypatch.setattr(doctor, "LEAST_VERSIONS", {"torch": "999", "no-such-package": "1"})
    assert all("pip install" in finding.remedy for finding in check_packages())


def test_model() -> None:
    assert not check_model("embedded").remedy
    assert "--model" in check_model("/not/there").remedy


def test_comet_that_is_not_there() -> None:
    assert "--comet" in check_comet("/not/there.ckpt").remedy


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not check_disk(str(tmp_path / "not" / "yet"), "embedded").remedy
    assert not check_disk(str(tmp_path), "/not/there").remedy
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 10**9 if folder == str(tmp_path) else 0)
    finding = check_disk(str(tmp_path), "embedded")
    assert "1.0 GB free" in finding.state
    assert "delete something" in finding.remedy


@pytest.mark.parametrize(("remedy", "last", "code"), [("", "no problems", 0), ("buy a GPU", "problems: 1", 2)])
def test_a_line_a_check_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], remedy: str, last: str, code: int
) -> None:
    for check in ("check_packages", "check_disk", "check_model", "check_comet", "check_ray"):
        finding = doctor.Finding(check, "fine")
        result = [finding] if check == "check_packages" else finding
        monkeypatch.setattr(doctor, check, lambda *_, result=result: result)
    monkeypatch.setattr(doctor, "check_gpus", lambda: doctor.Finding("GPUs", "none", remedy))
    assert doctor.examine(parser().parse_args(["--doctor"])) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert (f"{'':<18} → {remedy}" in lines) == bool(remedy)
