"""Seconds a segment, measured anew for some rows of a run: one at a time, and in batches.

What a search notes beside a score depends on what its caches held. Here every row is translated from the beginning, on
one model in memory, without any cache of encoder outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import compress
from compress.models import resolve_model
from compress.resident import Resident
from evaluate.decoding.batches import prepare
from evaluate.evaluate import translate_cleaned
from results.candidate import Candidate
from results.outside import STORE, confirmed, confirmed_store
from results.paper_table import Seconds
from results.runs import RunView
from results.shipping.build import source_of
from results.shipping.verify import default_device, spec_of

PASSES = 2  # the shorter one counts


@dataclass(frozen=True)
class Timing:
    """What a run's folder names is not obeyed: model, data and store are given again where they are no defaults."""

    model: str | None = None
    data: str | None = None
    store: str | None = None
    device: str | None = None  # a GPU if there is one
    sequential: int = 16  # segments translated one at a time; all are in batches
    threads: int = 0  # torch's choice


def time_rows(
    run: RunView, rows: Sequence[Candidate], timing: Timing, say: Callable[[str], None] = lambda _: None
) -> dict[str, Seconds]:
    """Seconds by candidate."""
    if timing.threads:
        torch.set_num_threads(timing.threads)
    base = compress.Source.open(resolve_model(confirmed(run.config, "model", timing.model), download=False))
    variants = compress.Store(confirmed_store(run.path, run.config, timing.store) or run.path.resolve().parent / STORE)
    spec, device = spec_of(run.config, timing.data), timing.device or default_device()
    data = spec.open_data()
    first = data.first(min(timing.sequential, len(data.segments)))
    seconds: dict[str, Seconds] = {}
    resident: Resident | None = None
    for number, row in enumerate(rows, start=1):
        say(f"timing {row.candidate} ({number} of {len(rows)})")
        source = source_of(run, row, base)
        if resident is None or resident.source is not source:
            resident = None  # one model at a time in memory
            resident = Resident(source, variants, device=device)
        resident.apply(run.policy(row))
        measured = []
        for part, batch_size in ((first, 1), (data, spec.batch_size)):
            batches = prepare(part, resident.processor, batch_size, spec.chat)
            passes = [
                translate_cleaned(resident.model, resident.processor, batches, spec.max_new_tokens)[1]
                for _ in range(PASSES)
            ]
            measured.append(min(passes) / len(part.segments))
        seconds[row.candidate] = Seconds(*measured)
    return seconds
