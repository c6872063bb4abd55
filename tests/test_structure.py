"""The structure: imports go only downwards and never in a circle, at the top of a file; nothing private of Ray or
Optuna is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ["search", "cluster", "results", "evaluate", "compress", "embedded"]  # from the top down
NOT_FOR_LIBRARIES = {"ray", "optuna"}
# The only place that may use a name of Ray's inside, and why is written there.
PRIVATE_ALLOWED = {("cluster/head_node.py", "_raylet")}
MOST_LOCAL_IMPORTS = 10  # of our own modules inside functions, each with a comment that says why


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders or FOLDERS for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in files()}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(node: ast.AST) -> Iterator[str]:
    """Every module that is imported somewhere below a node; of `from package import x` the module x if it is one."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
            for alias in each.names:
                inner = f"{each.module}.{alias.name}"
                yield inner if inner in MODULES else each.module


def own(names: Iterator[str]) -> set[str]:
    return {name for name in names if name in MODULES}


GRAPH = {name: own(imports_of(tree(path))) - {name} for name, path in MODULES.items()}


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_only_downwards(folder: str) -> None:
    above = set(FOLDERS[: FOLDERS.index(folder)])
    for path in files(folder):
        imported = {name.split(".")[0] for name in imports_of(tree(path))}
        assert not imported & above, f"{path.relative_to(ROOT)} imports from above"


@pytest.mark.parametrize("folder", ["compress", "evaluate", "embedded"])
def test_libraries_know_nothing_of_ray_and_optuna(folder: str) -> None:
    for path in files(folder):
        imported = {name.split(".")[0] for name in imports_of(tree(path))}
        assert not imported & NOT_FOR_LIBRARIES, path.relative_to(ROOT)


def test_ray_tune_is_imported_in_one_folder() -> None:
    for path in files("search", "results"):
        names = [name for name in imports_of(tree(path)) if name == "ray" or name.startswith("ray.")]
        assert not names or "tuning" in path.parts or "recovery" in path.parts, path.relative_to(ROOT)


def test_no_file_imports_in_a_circle() -> None:
    """Imports inside functions count too."""
    finished: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            raise AssertionError(" → ".join([*way[way.index(name) :], name]))
        if name not in finished:
            for imported in sorted(GRAPH[name]):
                visit(imported, [*way, name])
            finished.add(name)

    for name in sorted(GRAPH):
        visit(name, [])


def local_imports(path: Path) -> list[int]:
    """Lines of imports of our own modules inside functions."""
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = set()
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom) and own(imports_of(node)):
                lines.add(node.lineno)
    return sorted(lines)


def test_our_own_modules_are_imported_at_the_top() -> None:
    places = {}
    for path in files():
        text = path.read_text(encoding="utf-8").splitlines()
        for line in local_imports(path):
            places[f"{path.relative_to(ROOT)}:{line}"] = any("#" in each for each in text[max(0, line - 8) : line])
    assert all(places.values()), f"without a comment that says why: {[at for at, said in places.items() if not said]}"
    assert len(places) <= MOST_LOCAL_IMPORTS, sorted(places)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_private_name_of_ray_or_optuna_is_imported_or_read() -> None:
    found = set()
    for path in files():
        module, where = tree(path), str(path.relative_to(ROOT))
        theirs: set[str] = set()  # names in this file that are Ray's or Optuna's
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in NOT_FOR_LIBRARIES:
                        theirs.add((alias.asname or alias.name).split(".")[0])
                        found |= {(where, part) for part in alias.name.split(".") if private(part)}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in NOT_FOR_LIBRARIES:
                theirs |= {alias.asname or alias.name for alias in node.names}
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                found |= {(where, part) for part in parts if private(part)}
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and private(node.attr):
                inner: ast.expr = node.value
                while isinstance(inner, ast.Attribute | ast.Call):
                    inner = inner.value if isinstance(inner, ast.Attribute) else inner.func
                if isinstance(inner, ast.Name) and inner.id in theirs:
                    found.add((where, node.attr))
    assert found <= PRIVATE_ALLOWED, found - PRIVATE_ALLOWED


def subclasses_of_theirs() -> list[type]:
    """Our classes that inherit from one of Ray's or Optuna's."""
    classes = []
    for name in MODULES:
        if name.startswith(("search.tuning", "search.sampling", "cluster.trainable")):
            for value in vars(importlib.import_module(name)).values():
                if inspect.isclass(value) and value.__module__ == name and value.__mro__[1:-1]:
                    classes.append(value)
    return [c for c in classes if any(b.__module__.split(".")[0] in NOT_FOR_LIBRARIES for b in c.__mro__)]


def own_attributes(owner: type) -> set[str]:
    """Private names that a class uses of itself."""
    return set(re.findall(r"\bself\.(_[a-z]\w*)", inspect.getsource(owner))) | {n for n in vars(owner) if private(n)}


def test_no_private_attribute_of_a_base_class_of_theirs_is_used() -> None:
    classes = subclasses_of_theirs()
    assert {"ParetoSearch", "RungScheduler", "CandidateTrial"} <= {each.__name__ for each in classes}
    for each in classes:
        theirs = [base for base in each.__mro__ if base.__module__.split(".")[0] in NOT_FOR_LIBRARIES]
        shared = {
            name
            for base in theirs
            for name in own_attributes(each) & own_attributes(base)
            if name != "_abc_impl"  # of every abstract class
        }
        assert not shared, f"{each.__name__} uses {shared}"


def test_every_file_says_what_it_is_for() -> None:
    for path in files(*FOLDERS, "benchmarks"):
        assert ast.get_docstring(tree(path)), path.relative_to(ROOT)
