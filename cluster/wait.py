"""`python -m cluster.wait ADDRESS NODES`: until so many nodes of a cluster are up, for launch scripts.

A search counts the cluster's room once, when it starts; nodes that join later stay idle.
"""

from __future__ import annotations

import os
import sys
import time

from cluster import head_node, session
from compress.cli import Parser, run
from compress.errors import UserError


def wait(address: str, nodes: int, seconds: float) -> None:
    """Returns when `nodes` are up; refuses after `seconds`. Another token or version is refused at once."""
    session.check_form(address)
    if nodes < 1 or not seconds >= 0:
        raise UserError(f"{nodes} nodes, --seconds {seconds:g}: at least one node and no less than 0 seconds")
    until = time.monotonic() + seconds
    while True:
        try:
            there = session.find(address)
            session.check_answers(there)
        except UserError:  # not yet
            if time.monotonic() > until:
                raise
        else:
            session.examine(there)
            up = head_node.nodes_up(there)
            if up >= nodes:
                return
            if time.monotonic() > until:
                raise UserError(f"{up} of {nodes} nodes are up at {address} after {seconds:.0f} s")
        time.sleep(1)


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m cluster.wait", description=__doc__)
    parser.add_argument("address", help="HOST:PORT or auto")
    parser.add_argument("nodes", type=int, help="how many must be up")
    parser.add_argument("--seconds", type=float, default=900, help="before giving up (default 900)")
    options = parser.parse_args(arguments)
    for name, value in session.QUIET.items():
        os.environ.setdefault(name, value)
    wait(options.address, options.nodes, options.seconds)


if __name__ == "__main__":
    sys.exit(run(main))
