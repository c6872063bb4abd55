"""COMET as a Ray actor: a few of them serve all workers, so that a hypothesis is scored once for the whole cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.errors import Refusal
from evaluate.comet import Comet, Identity

WORKERS_PER_SCORER = 8


class Scorer:
    """Holds one COMET process. Ray makes it an actor; without Ray it works the same."""

    def __init__(self, name: str, gpus: int, threads: int) -> None:
        self.comet = Comet(name, gpus=gpus, threads=threads)

    def identity(self) -> tuple[str, str, str]:
        found = self.comet.identity
        return found.name, found.digest, found.version

    def score(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        return self.comet.score(sources, hypotheses, references)

    def hits(self) -> int:
        return self.comet.hits


def start_scorers(
    run: str, comet: str, workers: int, gpu_share: float, threads: int
) -> tuple[list[Any], tuple[str, ...]]:
    """Starts the actors; returns their handles (they live as long as these) and names."""
    import ray

    count = max(1, -(-workers // WORKERS_PER_SCORER))
    names = tuple(f"scorer-{run}-{index}" for index in range(count))
    actor = ray.remote(Scorer)
    handles = [
        actor.options(name=name, num_cpus=0, num_gpus=gpu_share, max_restarts=1).remote(
            comet, 1 if gpu_share else 0, threads
        )
        for name in names
    ]
    return handles, names


def identify(handle: Any) -> Identity:
    """Waits until a scorer is ready. A checkpoint that cannot be had becomes one clear line."""
    import ray

    try:
        return Identity(*ray.get(handle.identity.remote()))
    except ray.exceptions.RayError as error:
        told = [line for line in str(error).splitlines() if "Refusal: " in line]
        if told:
            raise Refusal(told[-1].split("Refusal: ", 1)[1]) from None
        last = str(error).strip().splitlines()[-1][:200]
        raise Refusal(f"the COMET process could not be started: {last}") from None
