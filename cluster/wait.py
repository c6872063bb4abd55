"""`python -m cluster.wait ADDRESS NODES`: until so many nodes of a cluster are up, for launch scripts.

A search counts the cluster's room once, when it starts; nodes that join later stay idle.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from cluster import session
from compress.errors import UserError


def alive(address: str) -> int:
    """Nodes of the cluster that are up now. Joins nothing."""
    raylet: Any = importlib.import_module("ray._raylet")
    with session.silence():
        found = raylet.GcsClient(address=address).get_all_node_info(timeout=session.PATIENCE)
    return sum(1 for node in found.values() if node.state == 0)  # GcsNodeInfo.ALIVE


def wait(address: str, nodes: int, seconds: float) -> None:
    """Returns when `nodes` are up; refuses after `seconds`. Another token or version is refused at once."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = session.find(address)
            session.check_answers(found)
        except UserError:  # not yet
            if time.monotonic() > until:
                raise
        else:
            session.examine(found)
            there = alive(found)
            if there >= nodes:
                return
            if time.monotonic() > until:
                raise UserError(f"{there} of {nodes} nodes are up at {address} after {seconds:.0f} s")
        time.sleep(1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.wait", description=__doc__)
    parser.add_argument("address", help="HOST:PORT or auto")
    parser.add_argument("nodes", type=int)
    parser.add_argument("--seconds", type=float, default=900, help="before giving up (default 900)")
    given = parser.parse_args(arguments)
    for name, value in session.QUIET.items():
        os.environ.setdefault(name, value)
    try:
        wait(given.address, given.nodes, given.seconds)
    except UserError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
