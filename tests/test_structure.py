"""Imports go only downwards: search > cluster > results > evaluate > compress > embedded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ["search", "cluster", "results", "evaluate", "compress", "embedded"]
NOT_FOR_LIBRARIES = {"ray", "optuna"}


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("folder", HOUSE)
def test_imports_go_only_downwards(folder: str) -> None:
    above = set(HOUSE[: HOUSE.index(folder)])
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert not imported(path) & above, f"{path.relative_to(ROOT)} imports from above"


@pytest.mark.parametrize("folder", ["compress", "evaluate", "embedded"])
def test_libraries_know_nothing_of_the_engine(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not imported(path) & NOT_FOR_LIBRARIES, path.relative_to(ROOT)


def test_every_file_says_what_it_is_for() -> None:
    for folder in [*HOUSE, "benchmarks"]:
        for path in (ROOT / folder).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path.relative_to(ROOT)


def test_no_file_is_longer_than_400_lines() -> None:
    for folder in [*HOUSE, "tests", "benchmarks"]:
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.relative_to(ROOT)
