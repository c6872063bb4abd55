"""How the cluster's GPUs and CPUs are shared out, before anything is asked for.

Workers and scorers together never reserve more than there is: a scorer that took a tenth of the only GPU would leave a
worker that wants a whole one waiting for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from compress.errors import UserError

SCORER_GPUS = 0.1  # of a GPU, for all COMET scorers together: wherever they are placed, they fit beside a worker
WORKERS_PER_SCORER = 8


@dataclass(frozen=True)
class Room:
    """Workers at once, scorers for them, what each reserves of a GPU, and the threads that a worker uses."""

    workers: int
    worker_gpus: float
    scorers: int
    scorer_gpus: float
    threads: int = 1


def share_out(
    cpus: int, gpus: float, workers: int, gpus_per_worker: float, threads: int, comet_on_gpu: bool = True
) -> Room:
    """`workers` 0: as many as there is room for; `gpus_per_worker` below 0: one where there are GPUs; `threads` 0: all
    CPUs but one shared out evenly. Raises UserError for what the cluster has no room for."""
    share = gpus_per_worker if gpus_per_worker >= 0 else 1.0 if gpus else 0.0
    if share and gpus < share:
        raise UserError(f"--gpus-per-worker {share:g}: the cluster has {gpus:g} GPUs; give 0 to run on CPUs")
    if 0 < share <= 1:
        most = int(gpus) * int(1 / share + 1e-9)  # a worker's share is of one GPU
    else:
        most = int(gpus / share + 1e-9) if share else max(1, cpus // max(threads, 1))
    if workers > most:
        has = f"{gpus:g} GPUs" if share else f"{cpus} CPUs"
        raise UserError(f"--workers {workers}: the cluster ({has}) has room for {most}")
    count = workers or most
    scorers = max(1, -(-count // WORKERS_PER_SCORER))
    threads = threads or max(1, (cpus - 1) // count)
    if not share or not comet_on_gpu:
        return Room(count, share, scorers, 0.0, threads)
    each = _rounded_down(SCORER_GPUS / scorers)
    if share > 1:  # Ray gives whole GPUs only: scorers take one that is left over, or run on the CPU
        return Room(count, share, scorers, each if gpus - count * share >= 1 else 0.0, threads)
    # The scorers' part stays free of every GPU, for nobody knows which of them they will be placed on.
    return Room(count, _rounded_down(share * (1 - SCORER_GPUS)), scorers, each, threads)


def _rounded_down(amount: float) -> float:
    """To the ten-thousandths that Ray counts in."""
    return math.floor(1e4 * amount + 1e-6) / 1e4
