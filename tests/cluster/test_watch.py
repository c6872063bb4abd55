"""Ray dying under the driver is one line and exit code 2, whatever the main thread waits for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.watch import Watch, children, listens

ROOT = Path(__file__).parent.parent.parent
DRIVER = """
import signal, sys, time
import ray
from cluster.session import connect
from cluster.watch import Watch, children
signal.alarm(120)
joined = connect(None, 1)
watch = Watch.of_this_cluster("`the command` goes on")
print(ray.get_runtime_context().gcs_address, *children(), flush=True)

@ray.remote(num_cpus=0)
def sleeps():
    time.sleep(100)

ray.get(sleeps.remote())
"""


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_answers_until_it_is_closed(port: socket.socket) -> None:
    address = address_of(port)
    assert listens(address)
    port.close()
    assert not listens(address)
    assert listens("no such host.:1"), "a name that is not resolved now says nothing"


def test_nothing_happens_while_ray_lives_nor_after_it_was_told_to_stop(port: socket.socket) -> None:
    watch = Watch({"Ray": address_of(port)}, "")
    time.sleep(1)
    watch.stop()
    port.close()
    time.sleep(1)


def test_what_this_process_started_is_known() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert child.pid in children()
    finally:
        child.kill()
        child.wait()


def names(pids: list[int]) -> dict[str, int]:
    return {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in pids if Path(f"/proc/{pid}").exists()}


@pytest.mark.engine
@pytest.mark.parametrize("dies", ["raylet", "gcs_server"])
def test_the_driver_says_in_one_line_that_ray_died(tmp_path: Path, dies: str) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py")], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert driver.stdout is not None
    _, *pids = driver.stdout.readline().split()
    started = names([int(pid) for pid in pids])
    assert {"raylet", "gcs_server"} <= set(started)
    time.sleep(2)
    os.kill(started[dies], signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    what = {"raylet": "Ray on this machine (raylet)", "gcs_server": "Ray's head (GCS)"}[dies]
    assert errors[0].startswith(f"error: {what} died: nothing listens at ")
    assert errors[0].endswith("; `the command` goes on")
    assert "Traceback" not in err
    deadline = time.time() + 30
    while names([int(pid) for pid in pids]) and time.time() < deadline:
        time.sleep(0.2)
    assert not names([int(pid) for pid in pids]), "nothing of Ray is left"
