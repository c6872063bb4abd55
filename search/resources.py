"""What a run takes of a Ray cluster: the session, the COMET scorers, and room for its workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from cluster import leftovers, session
from cluster.gpu_shares import Room, share_out
from cluster.jobs import Context
from cluster.scorer import identify, start_scorers
from cluster.watch import Watch
from compress.errors import UserError
from evaluate.metrics.comet import Identity
from results.outside import STORE
from search.config import Config

SCORES = "scores.sqlite"


@dataclass(frozen=True)
class Resources:
    """`scorers` are the names that workers find the scorers by; `comet` waits until the first of them is ready."""

    room: Room
    scorers: tuple[str, ...]
    comet: Callable[[], Identity]

    @property
    def device(self) -> str:
        return "cuda" if self.room.worker_gpus else "cpu"


def check_cluster(config: Config) -> None:
    """Refuses, before anything is read or started, an address where no cluster answers, and GPUs that this machine
    lacks where Ray would be started on it."""
    if config.address:
        session.check_answers(session.find(config.address))
    elif config.gpus_per_worker > 0 and torch.cuda.device_count() < config.gpus_per_worker:
        count = torch.cuda.device_count()
        raise UserError(
            f"--gpus-per-worker {config.gpus_per_worker:g}: this machine has {count} GPUs that torch can use;"
            " give 0 to run on CPUs, or --address of a cluster that has some"
        )


@contextlib.contextmanager
def resources(config: Config, name: str, comet: str, again: str, say: Callable[[str], None]) -> Iterator[Resources]:
    """Joins or starts Ray, shares out its room and starts scorers under `name`; all of it ends with the block.

    `again` says how to go on, should Ray die.
    """
    joined = session.connect(config.address, max(config.threads, 1))
    watch = Watch.of_this_cluster(f"nothing that was scored is lost: {again}")
    try:
        removed = leftovers.remove(session.SESSIONS)
        if removed:
            say(f"removed {removed} temporary folder{'s'[: removed > 1]} of runs that were killed")
        token = " (its token: ray get-auth-token)" if os.environ.get(session.AUTH_MODE) == "token" else ""
        say(f"Ray: {joined.nodes} nodes, {joined.cpus} CPUs, {joined.gpus:g} GPUs; dashboard {joined.dashboard}{token}")
        on_gpu = config.comet != "embedded"
        room = share_out(joined.cpus, joined.gpus, config.workers, config.gpus_per_worker, config.threads, on_gpu)
        # The scorers live on this machine, and so does the file of what they scored.
        cache = str((Path(config.runs) / STORE / SCORES).resolve())
        handles, names = start_scorers(name, comet, room.scorers, room.scorer_gpus, max(config.threads, 1), cache)
        yield Resources(room, names, lambda: identify(handles[0]))
    finally:
        watch.stop()
        session.disconnect()


def context_of(config: Config, model: str, segments: int, reserved: Resources) -> Context:
    """What every worker needs to know. `model` is the folder of the checkpoint, `segments` how many the data has."""
    return Context(
        model=model,
        store=config.variants,
        spec=config.eval_spec("dev"),
        sense_segments=config.sense_segments,
        part=config.parts(segments)[0],
        scorers=reserved.scorers,
        device=reserved.device,
        threads=reserved.room.threads,
    )
