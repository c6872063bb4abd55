"""chrF, chrF++ and BLEU by sacrebleu. A new corpus metric is added to `corpus_metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}  # of BLEU; others use the 13a rules


def corpus_metrics(lang: str) -> dict[str, Any]:
    """sacrebleu's metrics by name: what `evaluate.score` reports beside COMET."""
    return {"chrF": chrf_metric(), "chrF++": chrf_metric(word_order=2), "BLEU": bleu_metric(lang)}


def chrf_metric(word_order: int = 0) -> Any:
    """chrF, or chrF++ with a word order of 2."""
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=word_order)


def bleu_metric(lang: str) -> Any:
    """BLEU; Chinese is cut into characters by sacrebleu's own rules for it."""
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=TOKENIZERS.get(lang.split("-")[-1], "13a"))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return _corpus_score(chrf_metric(), hypotheses, references)


def bleu(hypotheses: Sequence[str], references: Sequence[str], lang: str) -> float:
    return _corpus_score(bleu_metric(lang), hypotheses, references)


def _corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)
