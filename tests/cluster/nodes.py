"""A real Ray cluster of several nodes on one machine: a raylet each, guarded by a token, ended by process id."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

START = 300  # seconds a node may take on a busy machine


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Nodes:
    """`add()` starts a node; the first is the head. Its folder is short: Ray's sockets have names of 107 bytes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.token = self.folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        self.address = f"127.0.0.1:{free_port()}"
        self.dashboard = free_port()
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        more = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_USAGE_STATS_ENABLED": "0"}
        return {**kept, **more, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def add(self, cpus: int = 1) -> None:
        number = len(self.started)
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--num-cpus={cpus}"]
        command += ["--num-gpus=0", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        if number:
            command += [f"--address={self.address}"]
        else:
            command += ["--head", f"--port={self.address.rpartition(':')[2]}", f"--dashboard-port={self.dashboard}"]
            command += [f"--temp-dir={self.folder / 'ray'}", f"--ray-client-server-port={free_port()}"]
        log = self.folder / f"node-{number}.log"
        with log.open("wb") as stream:
            self.started.append(
                subprocess.Popen(command, env=self.environment, stdout=stream, stderr=subprocess.STDOUT)
            )
        deadline = time.time() + START
        while "Ray runtime started" not in log.read_text(errors="replace"):
            told = log.read_text(errors="replace")[-3000:]
            assert self.started[-1].poll() is None, f"a node did not start:\n{told}"
            assert time.time() < deadline, f"a node did not start in {START} s:\n{told}"
            time.sleep(0.3)

    def raylet(self, number: int) -> psutil.Process:
        children = psutil.Process(self.started[number].pid).children(recursive=True)
        return next(child for child in children if child.name() == "raylet")

    def works(self, number: int) -> bool:
        """Whether a worker of a search lives on a node."""
        titles = [" ".join(child.cmdline()) for child in self.raylet(number).children(recursive=True)]
        return any("WorkerActor" in title for title in titles)

    def end(self) -> None:
        """Kills what was started, and what that has started, and waits until it is gone."""
        family: list[psutil.Process] = []
        for process in self.started:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                family += [*parent.children(recursive=True), parent]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        for process in self.started:
            process.wait(timeout=60)
        psutil.wait_procs(family, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
