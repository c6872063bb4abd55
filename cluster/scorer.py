"""COMET as a Ray actor: a few of them serve all workers, so that a hypothesis is scored once for the whole cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.errors import UserError
from evaluate.metrics.comet import Comet, Identity


class Scorer:
    """Holds one COMET process. Ray makes it an actor; without Ray it works the same."""

    def __init__(self, name: str, gpus: int, threads: int, cache: str | None = None) -> None:
        self.comet = Comet(name, gpus=gpus, threads=threads, cache=None if cache is None else Path(cache))

    def identity(self) -> tuple[str, str, str]:
        identity = self.comet.identity
        return identity.name, identity.digest, identity.version

    def score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
    ) -> tuple[list[float], int]:
        """Scores, and how many so far were already known."""
        return self.comet.score(sources, hypotheses, references), self.comet.hits


def start_scorers(
    run: str, comet: str, count: int, gpu_share: float, threads: int, cache: str | None = None
) -> tuple[list[Any], tuple[str, ...]]:
    """Starts the actors; returns their handles (they live as long as these) and names."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    names = tuple(f"scorer-{run}-{index}" for index in range(count))
    actor = ray.remote(Scorer)
    # On the driver's node, which lives as long as the run; should a scorer die all the same, Ray starts it anew and
    # repeats the call (scoring is a pure function, and a COMET process that dies is reported, not retried).
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    handles = [
        actor.options(
            name=name,
            num_cpus=0,
            num_gpus=gpu_share,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy="DEFAULT" if gpu_share else here,
        ).remote(comet, 1 if gpu_share else 0, threads, cache)
        for name in names
    ]
    return handles, names


def identify(handle: Any) -> Identity:
    """Waits until a scorer is ready. A checkpoint that cannot be had becomes one clear line."""
    import ray

    try:
        return Identity(*ray.get(handle.identity.remote()))
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if "UserError: " in line]
        if lines:
            raise UserError(lines[-1].split("UserError: ", 1)[1]) from None
        last = str(error).strip().splitlines()[-1][:200]
        raise UserError(f"the COMET process could not be started: {last}") from None
