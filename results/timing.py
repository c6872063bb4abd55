"""Seconds a segment, measured anew for some rows of a run: one at a time, and in batches.

What a search notes beside a score depends on what its caches held. Here every row is translated from the beginning, on
one model in memory, without any cache of encoder outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

import compress
from compress.models import resolve_model
from compress.resident import Resident
from evaluate.decoding.batches import prepare
from evaluate.evaluate import translate_cleaned
from evaluate.spec import EvalSpec
from results.candidate import Candidate
from results.outside import confirmed, confirmed_store
from results.paper_table import Seconds
from results.runs import RunView
from results.shipping.build import source_of

PASSES = 2  # the shorter one counts


def time_rows(
    run: RunView,
    rows: Sequence[Candidate],
    spec: EvalSpec,
    device: str,
    model: str | None = None,
    store: str | None = None,
    sequential: int = 16,
    threads: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Seconds]:
    """Seconds by candidate. `sequential`: how many segments are translated one at a time; all are in batches."""
    if threads:
        torch.set_num_threads(threads)
    base = compress.Source.open(resolve_model(confirmed(run.config, "model", model), download=False))
    variants = compress.Store(confirmed_store(run.path, run.config, store) or run.path.resolve().parent / ".store")
    data = spec.open_data()
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
        for part, batch_size in ((data.first(min(sequential, len(data.segments))), 1), (data, spec.batch_size)):
            batches = prepare(part, resident.processor, batch_size, spec.chat)
            passes = [
                translate_cleaned(resident.model, resident.processor, batches, spec.max_new_tokens)[1]
                for _ in range(PASSES)
            ]
            measured.append(min(passes) / len(part.segments))
        seconds[row.candidate] = Seconds(*measured)
    return seconds
