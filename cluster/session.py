"""Starts Ray on this machine or joins a cluster, quietly, with the dashboard on loopback and a token for whoever asks.

Ray runs what anyone sends it. A cluster of several machines is joined only if it asks for a token (Ray's own
`RAY_AUTH_MODE=token`), or if the user has set `RAY_AUTH_MODE=disabled`.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

from cluster import head_node, leftovers
from compress.errors import UserError, first_line

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("search", "cluster", "results", "evaluate", "compress", "embedded")
NOT_SHIPPED = ("**/__pycache__", "**/*.pyc")  # of our packages, to other machines
PASSED_ON = ("HF_HUB_OFFLINE", "HF_HOME", "COMET_PYTHON", "AWS_ENDPOINT_URL", "AWS_REGION")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # most jobs have no COMET to report
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is not what we resume from
}
AUTH_MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
SESSIONS = Path(tempfile.gettempdir()) / "ray"  # where Ray keeps what it writes while it runs
SEE = "see docs/cluster.md"


@dataclass(frozen=True)
class Session:
    """What the cluster has, and where its dashboard is."""

    dashboard: str
    cpus: int
    gpus: float
    nodes: int


def check_form(address: str) -> None:
    """Refuses what is neither HOST:PORT nor auto."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: Ray's client cannot run a search; start it on a machine of the cluster"
            f" (ssh, or ray job submit) with --address auto, {SEE}"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address {address}: write HOST:PORT or auto")


def check_answers(address: str) -> None:
    """Refuses an address at which nothing listens: Ray itself would try again for minutes."""
    check_form(address)
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster at {address} ({error}): start one with `ray start --head`, {SEE}") from None


def token_file(environment: Mapping[str, str]) -> Path | None:
    """The file that Ray would read its token from, None if the token itself is in the environment.

    A file that is named and not there makes Ray abort the whole process, so it is refused here.
    """
    if environment.get(TOKEN):
        return None
    named = environment.get(TOKEN_PATH)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if named and not token:
        raise UserError(f"{TOKEN_PATH}={named}: the file is not there, empty or not readable, {SEE}")
    return path


def use_token(environment: Mapping[str, str]) -> bool:
    """Whether to present a token to a cluster: if the user says so, or says nothing and has one."""
    mode = environment.get(AUTH_MODE, "").lower()
    if mode == "disabled":
        return False
    path = token_file(environment)
    there = path is None or path.exists()
    if mode == "token" and not there:
        raise UserError(f"{AUTH_MODE}=token, but there is no token: copy the cluster's to {path}, {SEE}")
    return there


def private_token(path: Path | None) -> None:
    """Makes a token where there is none yet, and closes its file to other users: Ray would leave it open to all."""
    if path is None:
        return
    try:
        if path.exists():
            path.chmod(0o600)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
    except OSError as error:
        raise UserError(f"{path}: the token that guards Ray cannot be kept private ({error.strerror})") from None


def check_versions(metadata: Mapping[str, Any], address: str, ray: str, python: str) -> None:
    """Refuses a cluster of other versions: Ray moves Python objects between machines, and they must agree."""
    theirs = str(metadata.get("ray_version", ray)), str(metadata.get("python_version", python))
    if theirs != (ray, python):
        raise UserError(
            f"the cluster at {address} runs Ray {theirs[0]} on Python {theirs[1]}, here are Ray {ray} and Python"
            f" {python}: use the same versions everywhere"
        )


def check_guarded(machines: int, guarded: bool, environment: Mapping[str, str], address: str) -> None:
    """Refuses several machines that run whatever anyone on the network sends them."""
    if machines > 1 and not guarded and environment.get(AUTH_MODE, "").lower() != "disabled":
        raise UserError(
            f"the cluster at {address} has {machines} machines and asks nobody for a token: start every node with"
            f" {AUTH_MODE}=token, {SEE}; where nobody else reaches its network, set {AUTH_MODE}=disabled here"
        )


def find(address: str) -> str:
    """HOST:PORT of the cluster meant by `auto`: RAY_ADDRESS, else the one that runs on this machine."""
    if address != "auto":
        return address
    known = os.environ.get("RAY_ADDRESS") or head_node.started_here()
    if not known or known == "auto":
        raise UserError(
            f"--address auto: no Ray cluster runs on this machine; start one with `ray start --head`, {SEE}"
        )
    check_answers(known)
    return known


def examine(address: str) -> None:
    """Asks the cluster's head, within seconds, what `ray.init` would find out in minutes or not say."""
    if use_token(os.environ):
        os.environ[AUTH_MODE] = "token"
    try:
        metadata = head_node.metadata(address)
    except AuthenticationError:
        raise UserError(
            f"the cluster at {address} wants another token: put the one it was started with into ~/.ray/auth_token,"
            f" or name its file with {TOKEN_PATH}, {SEE}"
        ) from None
    except (RayError, RuntimeError, OSError, ValueError) as error:
        raise UserError(f"what listens at {address} is no Ray cluster ({first_line(error)})") from None
    check_versions(metadata, address, ray.__version__, platform.python_version())


def connect(address: str | None, threads: int) -> Session:
    """`ray.init`. Refuses an address where no cluster answers, or none that we may or should join."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    environment_before = dict(os.environ)
    if address:
        check_answers(address)
    elif os.environ.get(AUTH_MODE, "token").lower() == "token":
        private_token(token_file(os.environ))
    environment: dict[str, Any] = {
        "env_vars": {
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore",
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        }
    }
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        address = find(address)
        examine(address)
        # Our code travels to the nodes; here it is where it is.
        environment["py_modules"] = [str(ROOT / package) for package in PACKAGES]
        environment["excludes"] = list(NOT_SHIPPED)
        options["address"] = address
    else:
        # "local": a cluster that happens to run on this machine is joined only when asked for.
        options |= {"address": "local", "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    context = _start(address, {**options, "runtime_env": environment})
    if not address:
        leftovers.keep_private(Path(context.address_info["session_dir"]))
    alive = [node for node in ray.nodes() if node["Alive"]]
    machines = len({node["NodeManagerAddress"] for node in alive})
    if address and machines > 1:
        try:
            check_guarded(machines, head_node.is_guarded(address, stranger(os.environ)), environment_before, address)
        except UserError:
            ray.shutdown()
            raise
    resources = ray.cluster_resources()
    url = context.dashboard_url
    return Session(
        dashboard=f"http://{url}" if url else "",
        cpus=int(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        nodes=len(alive),
    )


def _start(address: str | None, options: Mapping[str, Any]) -> Any:
    """`ray.init`. On a slow machine the parts of a cluster of our own may miss each other: that is tried once more."""
    for attempt in (1, 2):
        try:
            return ray.init(**options)
        except Exception as error:  # Ray raises Exception itself where a node timed out
            ray.shutdown()
            if attempt == 2 or address:
                what = f"no Ray cluster at {address}" if address else "Ray could not be started"
                raise UserError(f"{what} ({first_line(error)})") from None
    raise AssertionError


def stranger(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of somebody who has no token."""
    without = {name: value for name, value in environment.items() if name not in (TOKEN, TOKEN_PATH)}
    return without | {AUTH_MODE: "disabled"}


def disconnect() -> None:
    ray.shutdown()
