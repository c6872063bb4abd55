"""Joining a cluster: none there, another's token, other versions, several machines that ask nobody for a token."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cluster.head_node import silence
from cluster.session import check_answers, check_guarded, check_versions, private_token, token_file, use_token
from compress.errors import UserError


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", ":", "127.0.0.1:x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UserError, match="write HOST:PORT"):
        check_answers(address)


def test_nothing_listens_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(UserError, match="no Ray cluster at"):
            check_answers(f"127.0.0.1:{taken.getsockname()[1]}")


def test_something_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")


def test_auto_is_left_to_ray() -> None:
    check_answers("auto")


def test_rays_client_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(UserError, match="ray job submit"):
        check_answers("ray://127.0.0.1:10001")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def keep(home: Path, token: str) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(token)


@pytest.mark.parametrize(
    ("environment", "kept", "uses"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"RAY_AUTH_MODE": "disabled"}, True, False),
        ({"RAY_AUTH_MODE": "token"}, True, True),
        ({"RAY_AUTH_TOKEN": "x"}, False, True),
    ],
)
def test_a_token_is_presented_where_there_is_one(
    home: Path, environment: dict[str, str], kept: bool, uses: bool
) -> None:
    if kept:
        keep(home, "secret")
    assert use_token(environment) is uses


def test_a_token_that_is_asked_for_and_missing(home: Path) -> None:  # noqa: ARG001
    with pytest.raises(UserError, match="there is no token"):
        use_token({"RAY_AUTH_MODE": "token"})


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_a_token_file_that_would_make_ray_abort(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH"):
        token_file({"RAY_AUTH_TOKEN_PATH": str(path)})
    assert token_file({"RAY_AUTH_TOKEN_PATH": str(path), "RAY_AUTH_TOKEN": "x"}) is None, "the token itself wins"


@pytest.mark.parametrize("theirs", [("2.60.0", "3.10.4"), ("2.59.0", "3.11.7")])
def test_other_versions(theirs: tuple[str, str]) -> None:
    told = {"ray_version": theirs[0], "python_version": theirs[1]}
    with pytest.raises(UserError, match=f"runs Ray {theirs[0]} on Python {theirs[1]}, here are Ray 2.60.0 and Python"):
        check_versions(told, "h:1", "2.60.0", "3.11.7")
    check_versions({"ray_version": "2.60.0", "python_version": "3.11.7"}, "h:1", "2.60.0", "3.11.7")


def test_several_machines_need_a_token() -> None:
    with pytest.raises(UserError, match="2 machines and asks nobody for a token"):
        check_guarded(2, False, {}, "h:1")
    check_guarded(2, True, {}, "h:1")
    check_guarded(1, False, {}, "h:1")
    check_guarded(2, False, {"RAY_AUTH_MODE": "disabled"}, "h:1")


def test_silence_ends(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with silence():
        os.write(2, b"noise")
    os.write(2, b"word")
    assert capfd.readouterr().err == "word"


def test_a_token_is_made_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "made" / "auth_token"
    private_token(path)
    made = path.read_text()
    assert len(made) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    private_token(path)
    assert path.read_text() == made
    assert path.stat().st_mode & 0o777 == 0o600
    private_token(None)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be kept private"):
        private_token(tmp_path / "file" / "auth_token")
