"""Asks the head of a cluster before joining it: whether it is a cluster, of which versions, how large, and guarded.

Ray has no public way to ask without joining, and `ray.init` finds out in minutes or does not say. So this file, and no
other, uses a name of Ray's inside: the client of its global control service.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import _raylet

PATIENCE = 10  # seconds for an answer of a cluster that listens
ALIVE = 0  # the state of a node that is up


def started_here() -> str:
    """HOST:PORT of the cluster that `ray start` noted on this machine, '' for none."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    try:
        return note.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def metadata(address: str) -> dict[str, Any]:
    """What the cluster says of itself. Raises Ray's errors where it wants another token or is none."""
    raylet: Any = _raylet
    raylet.Config.initialize("")  # Ray has read its environment already, perhaps before a token was set
    with silence():
        client = raylet.GcsClient(address=address)
        described: dict[str, Any] = json.loads(
            client.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=PATIENCE) or b"{}"
        )
    return described


def nodes_up(address: str) -> int:
    """Nodes of the cluster that are up now."""
    raylet: Any = _raylet
    with silence():
        nodes = raylet.GcsClient(address=address).get_all_node_info(timeout=PATIENCE)
    return sum(1 for node in nodes.values() if node.state == ALIVE)


def is_guarded(address: str, environment: Mapping[str, str]) -> bool:
    """Whether a cluster turns away who comes without a token. Asked by another process: ours has the token."""
    script = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    command = [sys.executable, "-c", script, address]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False)
    return "AuthenticationError" in done.stderr


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing on standard error meanwhile: Ray's C++ side writes there, past Python's logging."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
