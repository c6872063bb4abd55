"""Translate and score: the one way in which workers, recoveries and exports get a model's scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.memory import FittingRows
from evaluate.data.types import DataSet
from evaluate.decoding.batches import Batch
from evaluate.decoding.cleanup import clean
from evaluate.decoding.encoder_cache import EncoderCache
from evaluate.decoding.generate import translate
from evaluate.metrics.mt import bleu, chrf

# Sources, hypotheses and references to one score a segment, as `Comet.score` does.
SegmentMetric = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]


@dataclass(frozen=True)
class Evaluation:
    """Translations and scores of some segments, in the order of the data."""

    indices: tuple[int, ...]  # of the segments in the data
    hypotheses: tuple[str, ...]  # cleaned
    comet_segments: tuple[float, ...]
    chrf: float
    bleu: float
    translate_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the indices."""
        return {
            "hypotheses": list(self.hypotheses),
            "comet_segments": list(self.comet_segments),
            "chrf": self.chrf,
            "bleu": self.bleu,
            "translate_seconds": self.translate_seconds,
        }


def evaluate(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    data: DataSet,
    comet: SegmentMetric,
    max_new_tokens: int,
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
    earlier: Evaluation | None = None,
    fitting: FittingRows | None = None,
) -> Evaluation:
    """Translates batches of the data, cleans and scores. `earlier` holds other segments: the result covers both."""
    hypotheses, seconds = translate_cleaned(
        model, processor, batches, max_new_tokens, encoder_cache, encoder_key, fitting
    )
    return score_hypotheses(hypotheses, data, comet, seconds, earlier)


def translate_cleaned(
    model: Any,
    processor: Any,
    batches: Sequence[Batch],
    max_new_tokens: int,
    encoder_cache: EncoderCache | None = None,
    encoder_key: str = "",
    fitting: FittingRows | None = None,
) -> tuple[dict[int, str], float]:
    """Cleaned translations by the index of their segment, in order, and the seconds that translating took."""
    started = time.perf_counter()
    texts = translate(
        model,
        processor,
        batches,
        max_new_tokens,
        encoder_cache=encoder_cache,
        encoder_key=encoder_key,
        fitting=fitting,
    )
    seconds = time.perf_counter() - started
    indices = sorted(index for batch in batches for index in batch.indices)
    return {index: clean(text) for index, text in zip(indices, texts, strict=True)}, seconds


def score_hypotheses(
    hypotheses: Mapping[int, str],
    data: DataSet,
    comet: SegmentMetric,
    translate_seconds: float,
    earlier: Evaluation | None = None,
) -> Evaluation:
    """Scores hypotheses by segment. COMET sees only these; chrF and BLEU are of these and `earlier` together."""
    sources, references = data.sources, data.references
    indices = list(hypotheses)
    scores = comet([sources[i] for i in indices], [hypotheses[i] for i in indices], [references[i] for i in indices])
    texts, segments = dict(hypotheses), dict(zip(indices, scores, strict=True))
    if earlier is not None:
        texts |= dict(zip(earlier.indices, earlier.hypotheses, strict=True))
        segments |= dict(zip(earlier.indices, earlier.comet_segments, strict=True))
        translate_seconds += earlier.translate_seconds
    order = sorted(texts)
    ordered, ordered_references = [texts[i] for i in order], [references[i] for i in order]
    return Evaluation(
        indices=tuple(order),
        hypotheses=tuple(ordered),
        comet_segments=tuple(segments[i] for i in order),
        chrf=chrf(ordered, ordered_references),
        bleu=bleu(ordered, ordered_references, data.lang),
        translate_seconds=translate_seconds,
    )
