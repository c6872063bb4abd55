"""Scores besides COMET, the interval round a mean, and the signature every score is quoted with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from evaluate.data.types import DataSet
from evaluate.metrics.comet import Identity

RESAMPLES = 1000
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}  # everything else by the 13a rules


def chrf_metric(word_order: int = 0) -> Any:
    """sacrebleu's chrF, or chrF++ with a word order of 2."""
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=word_order)


def bleu_metric(lang: str) -> Any:
    """sacrebleu's BLEU; Chinese is cut into characters by sacrebleu's own rules for it."""
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=TOKENIZERS.get(lang.split("-")[-1], "13a"))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return _corpus(chrf_metric(), hypotheses, references)


def chrf_plus_plus(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return _corpus(chrf_metric(2), hypotheses, references)


def bleu(hypotheses: Sequence[str], references: Sequence[str], lang: str) -> float:
    return _corpus(bleu_metric(lang), hypotheses, references)


def _corpus(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)


@lru_cache(maxsize=8)
def resamples(size: int, seed: int = 12345) -> np.ndarray:
    """Counts of each segment in each bootstrap draw, [RESAMPLES, size]: the same draws for every candidate."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(np.float32) / size


def interval(scores: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean over segments (percentiles of 1,000 fixed resamples)."""
    means = resamples(len(scores)) @ np.asarray(scores, dtype=np.float32)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def data_signature(data: DataSet, cleaned: bool) -> str:
    """The part of a signature that tells what was translated."""
    parts = {
        "data": f"{data.name}:{data.split}:{data.lang}",
        "segments": str(len(data.segments)),
        "datadigest": data.digest,
        "clean": "yes" if cleaned else "no",
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def comet_signature(comet: Identity, data: str) -> str:
    """What a COMET score of finished translations must be quoted with. `data` is a data_signature."""
    return f"metric:comet|checkpoint:{comet.name}|digest:{comet.digest}|comet:{comet.version}|{data}"


def signature_of(comet: Identity, data: str, max_new_tokens: int) -> str:
    """What it takes to get the same score again from the model, in sacrebleu's manner."""
    from importlib.metadata import version

    libraries = "|".join(f"{name}:{version(name)}" for name in ("transformers", "torch"))
    return f"{comet_signature(comet, data)}|max_new_tokens:{max_new_tokens}|{libraries}"
