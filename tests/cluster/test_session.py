"""Joining a cluster that is not there."""

from __future__ import annotations

import socket

import pytest

from cluster.session import check_answers
from compress.errors import Refusal


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", ":", "127.0.0.1:x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(Refusal, match="write HOST:PORT"):
        check_answers(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_nothing_listens_there(form: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(Refusal, match="no Ray cluster at"):
            check_answers(form.format(taken.getsockname()[1]))


def test_something_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")


def test_auto_is_left_to_ray() -> None:
    check_answers("auto")
