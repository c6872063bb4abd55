"""Notices that Ray itself died under the driver: its head (GCS), or the part of it on this machine (raylet).

Ray then ends the driver from inside, after up to a minute, with pages of its own log. A thread that asks both ports
several times a second comes first, and says in one line how to go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import ray

EVERY = 0.3  # seconds between two looks
TRIES = 2  # looks in a row at which nothing listens


class Watch:
    """Ends the process with one line once one of Ray's ports is closed. To be stopped before `ray.shutdown`."""

    def __init__(self, ports: Mapping[str, str], advice: str) -> None:
        self._ports, self._advice = dict(ports), advice
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watches Ray", daemon=True)
        self._thread.start()

    @classmethod
    def of_this_cluster(cls, advice: str) -> Watch:
        """`advice`: how to go on, for the end of the message."""
        context = ray.get_runtime_context()
        ports = {"Ray's head (GCS)": context.gcs_address}
        here = context.get_node_id()
        for node in ray.nodes():
            if node["NodeID"] == here:
                ports["Ray on this machine (raylet)"] = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
        return cls(ports, advice)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        closed = dict.fromkeys(self._ports, 0)
        while not self._stopped.wait(EVERY):
            for name, address in self._ports.items():
                closed[name] = 0 if listens(address) else closed[name] + 1
                if closed[name] == TRIES and not self._stopped.is_set():
                    self._end(f"{name} died: nothing listens at {address} any more")

    def _end(self, reason: str) -> None:
        """Not by an exception: the main thread may wait inside Ray for an answer that will not come."""
        sys.stderr.write(f"\nerror: {reason}; {self._advice}\n")
        sys.stderr.flush()
        for process in children():  # what we started of Ray and is still there
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGTERM)
        os._exit(2)


def listens(address: str) -> bool:
    """Whether a connection is taken. All but a refusal counts as an answer: a slow machine is not a dead one."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def children() -> list[int]:
    """The processes that this one started."""
    processes: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # of a thread that has ended meanwhile
            processes += [int(each) for each in task.read_text(encoding="ascii").split()]
    return processes
