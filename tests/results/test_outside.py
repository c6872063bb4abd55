"""A run's folder may name files and addresses; none of them is touched because it does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from compress.errors import UserError
from evaluate.data.open import open_data
from results import export, report
from results.compatibility import merge_runs
from results.html.page import write_report
from results.outside import confirmed, confirmed_store, confirmed_training
from results.runs import RunView
from search import recover
from tests.results.examples import candidate, make_run, policy

SECRET = "a line that only its owner reads"


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An address, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_error(404)

        do_PUT = do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/store", asked
    running.shutdown()


@pytest.mark.parametrize("command", [export, recover])
@pytest.mark.parametrize("what", ["model", "data", "comet", "store"])
def test_what_a_run_names_is_refused_with_the_flag_that_would_allow_it(
    tmp_path: Path, server: tuple[str, list[str]], command: object, what: str
) -> None:
    address, asked = server
    for named in (address, str(tmp_path / "elsewhere")):
        folder = make_run(tmp_path / f"run{len(named)}", [candidate("original", recipe="original"), candidate()])
        config = json.loads((folder / "config.json").read_text()) | {what: named}
        (folder / "config.json").write_text(json.dumps(config))
        arguments = [str(folder), "--candidate", "c00001", "--out", str(tmp_path / "art")]
        if command is recover:
            arguments = [str(folder), "--candidates", "c00001"]
        with pytest.raises(UserError, match=f"names the {what} .* is not obeyed in that: give --{what} "):
            command.main(arguments)  # type: ignore[attr-defined]
    assert asked == []
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "art").exists()


def test_what_is_given_and_what_is_a_default_is_used(tmp_path: Path) -> None:
    assert confirmed({"model": "/evil"}, "model", "/mine") == "/mine"
    assert confirmed({"model": "embedded"}, "model", None) == "embedded"
    assert confirmed({"comet": "Unbabel/wmt22-comet-da"}, "comet", None) == "Unbabel/wmt22-comet-da"
    run = tmp_path / "runs" / "one"
    assert confirmed_store(run, {}, None) is None
    (tmp_path / "runs" / ".store").mkdir(parents=True)
    for named in ("", str(tmp_path / "runs" / ".store")):
        assert confirmed_store(run, {"store": named}, None) == str(tmp_path / "runs" / ".store")
    assert confirmed_store(run, {"store": "s3://evil"}, "s3://mine") == "s3://mine"


def test_a_report_shows_no_file_that_a_run_names(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(f"{SECRET}\n{SECRET}\n")
    folder = make_run(
        tmp_path / "run", [candidate("original", recipe="original"), candidate()], data=f"text:{secret},{secret}"
    )
    assert SECRET not in write_report(folder).read_text()
    report.main([str(folder), "--out", str(tmp_path / "report.html"), "--data", f"text:{secret},{secret}"])
    assert SECRET not in (tmp_path / "report.html").read_text(), "not what the rows were scored on"


def test_a_report_shows_the_references_that_its_rows_were_scored_on(tmp_path: Path) -> None:
    secret = tmp_path / "own.txt"
    secret.write_text(f"{SECRET}\n{SECRET}\n")
    named = f"text:{secret},{secret}"
    digest = open_data(named, "dev", "en-zh").first(2).digest
    signature = f"metric:comet|datadigest:{digest}"
    rows = [replace(c, signature=signature) for c in (candidate("original", recipe="original"), candidate())]
    folder = make_run(tmp_path / "run", rows, data=named)
    assert SECRET not in write_report(folder).read_text()
    assert SECRET in write_report(folder, named).read_text()


def test_training_data_that_a_run_names_is_not_opened(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    mine = f"manifest:{tmp_path / 'runs' / '.speech' / 'speech.csv'}"
    for named in ("embedded", "acl6060:/data", mine):
        assert confirmed_training(run, named, "acl6060:/data", None) == named
    for named in (f"text:{tmp_path / 'secret'}", f"manifest:{tmp_path / 'runs' / '.speech' / '..' / 'x.csv'}"):
        with pytest.raises(UserError, match=r"names the training data .* give --train "):
            confirmed_training(run, named, "acl6060:/data", None)
        assert confirmed_training(run, named, "acl6060:/data", "text:mine") == "text:mine"


def test_a_merge_copies_no_file_that_a_link_leads_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    rows = [candidate("original", recipe="original"), candidate("c00001+cheap", parent="c00001")]
    run = make_run(tmp_path / "run", rows, [policy("grid@1"), policy("grid@2")])
    (run / "sensitivities.json").symlink_to(secret)
    place = run / "recovered" / "c00001+cheap"
    place.mkdir(parents=True)
    (place / "recovery.json").write_text("{}")
    (place / "recovery.safetensors").symlink_to(secret)
    out = tmp_path / "merged"
    out.mkdir()
    merge_runs([RunView.open(run)], out, "merged")
    copied = [path for path in out.rglob("*") if path.is_file()]
    assert [path.name for path in (out / "recovered").rglob("*") if path.is_file()] == ["recovery.json"]
    assert not any(SECRET.encode() in path.read_bytes() for path in copied)
