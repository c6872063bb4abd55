"""A search from Python: docs/python.md as it stands, and mistakes in a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import search
from compress.errors import UserError
from search.command_line import check_config
from tests.results.examples import candidate, make_run

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.engine
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(program, names)
    run = names["run"]
    assert isinstance(run, search.Run)
    assert (tmp_path / "best.art" / "weights.bin").is_file()
    assert sum(run.candidates().recipe == "search") == 4
    assert list(run.front().candidate) == [c.candidate for c in run.view.front]
    with pytest.raises(UserError, match=r"best\.art exists already"):
        run.export("best", "best.art")


def test_a_run_that_was_made_before(tmp_path: Path) -> None:
    rows = [candidate("c00001"), candidate("c00002", 2000, 0.6), candidate("c00003", status="stopped", kl=0.5)]
    run = search.Run(make_run(tmp_path / "run", rows))
    front = run.front()
    assert list(front.candidate) == ["c00001", "c00002"]
    assert list(front.bytes) == [1000, 2000]
    assert list(run.candidates().status) == ["scored", "scored", "stopped"]
    with pytest.raises(UserError, match="there is no run at"):
        search.Run(tmp_path / "none").front()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bins": ("Bin9",)}, "unknown bin 'Bin9'"),
        ({"bins": ()}, "bins is empty"),
        ({"lang": "en-xx"}, "en-xx"),
        ({"trials": -1}, "--trials -1: at least 0"),
        ({"rungs": ("all", "kl")}, "--rungs all,kl"),
        ({"max_bytes": 10}, "--bin and --max-bytes: give one"),
        ({"name": "../x"}, "run name"),
        ({"gpus_per_worker": 0.5 + 1}, "gpus-per-worker"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(settings: dict[str, object], message: str) -> None:
    valid: dict[str, object] = {"bins": ("Bin2",), "lang": "en-zh", "name": "x"}
    check_config(search.Config(**valid))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        check_config(search.Config(**{**valid, **settings}))  # type: ignore[arg-type]


def test_the_package_is_light_until_it_is_used() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        search.nothing  # noqa: B018
    assert {"Config", "Run", "search"} == set(search.__all__)
