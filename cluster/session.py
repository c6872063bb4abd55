"""Starts Ray on this machine or joins a cluster, quietly, with the dashboard on loopback."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import Refusal

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("search", "cluster", "results", "evaluate", "compress", "embedded")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # most jobs have no COMET to report
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is not what we resume from
}


@dataclass(frozen=True)
class Session:
    """What the cluster has, and where its dashboard is."""

    dashboard: str
    cpus: int
    gpus: float
    nodes: int


def check_answers(address: str) -> None:
    """Refuses an address at which nothing listens: Ray itself would try again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise Refusal(f"--address {address}: write HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise Refusal(f"no Ray cluster at {address} ({error}): start one with `ray start --head`") from None


def connect(address: str | None, threads: int) -> Session:
    """`ray.init`. Refuses an address where no cluster answers."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    environment: dict[str, Any] = {
        "env_vars": {
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore",
            **{name: os.environ[name] for name in ("HF_HUB_OFFLINE", "COMET_PYTHON") if name in os.environ},
        }
    }
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        check_answers(address)
        # Our code travels to the nodes; here it is where it is.
        environment["py_modules"] = [str(ROOT / package) for package in PACKAGES]
        options["address"] = address
    else:
        options |= {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
    try:
        context = ray.init(runtime_env=environment, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        what = f"no Ray cluster at {address}" if address else "Ray could not be started"
        raise Refusal(f"{what} ({str(error).splitlines()[0][:160]})") from None
    resources = ray.cluster_resources()
    url = context.dashboard_url
    return Session(
        dashboard=f"http://{url}" if url else "",
        cpus=int(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        nodes=sum(1 for node in ray.nodes() if node["Alive"]),
    )


def disconnect() -> None:
    import ray

    ray.shutdown()
