"""Scores besides COMET, the interval round a mean, and the signature every score is quoted with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from evaluate.comet import Identity
from evaluate.dataset import DataSet

RESAMPLES = 1000


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    import sacrebleu

    return float(sacrebleu.corpus_chrf(list(hypotheses), [list(references)]).score)


def bleu(hypotheses: Sequence[str], references: Sequence[str], lang: str) -> float:
    """Corpus BLEU; Chinese is cut into characters, everything else by the 13a rules."""
    import sacrebleu

    tokenize = "zh" if lang.endswith("-zh") else "13a"
    return float(sacrebleu.corpus_bleu(list(hypotheses), [list(references)], tokenize=tokenize).score)


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


def signature_of(comet: Identity, data: str, max_new_tokens: int) -> str:
    """What it takes to get the same score again, in sacrebleu's manner. `data` is a data_signature."""
    from importlib.metadata import version

    metric = f"metric:comet|checkpoint:{comet.name}|digest:{comet.digest}|comet:{comet.version}"
    libraries = "|".join(f"{name}:{version(name)}" for name in ("transformers", "torch"))
    return f"{metric}|{data}|max_new_tokens:{max_new_tokens}|{libraries}"
