"""Translate and score: a part and the rest give what all segments give at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import compress
from evaluate.data.open import open_data
from evaluate.decoding.batches import prepare
from evaluate.evaluate import evaluate


def exact_matches(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """Instead of COMET: 1 for a translation equal to the reference; the source's length tells segments apart."""
    return [len(s) + float(h == r) for s, h, r in zip(sources, hypotheses, references, strict=True)]


def test_a_part_and_the_rest_give_what_all_at_once_gives(resident: compress.Resident) -> None:
    data = open_data("embedded", "dev", "en-de").first(5)
    batches = prepare(data, resident.processor, 1)
    part = [batch for batch in batches if batch.indices[0] in (1, 4)]
    rest = [batch for batch in batches if batch.indices[0] not in (1, 4)]
    model, processor = resident.model, resident.processor

    everything = evaluate(model, processor, batches, data, exact_matches, 40)
    first = evaluate(model, processor, part, data, exact_matches, 40)
    both = evaluate(model, processor, rest, data, exact_matches, 40, earlier=first)

    assert first.indices == (1, 4)
    assert first.hypotheses == tuple(everything.hypotheses[index] for index in (1, 4))
    assert first.comet_segments == tuple(everything.comet_segments[index] for index in (1, 4))
    assert both.translate_seconds > first.translate_seconds > 0
    assert replace(both, translate_seconds=0.0) == replace(everything, translate_seconds=0.0)
    assert everything.to_dict()["hypotheses"] == list(everything.hypotheses)
