"""Translations + references → scores, each with its interval and signature. `python -m evaluate.score --help`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compress.errors import UserError
from evaluate.data.types import DataSet
from evaluate.metrics.comet import Comet
from evaluate.metrics.mt import RESAMPLES, bleu_metric, chrf_metric, comet_signature, data_signature, interval
from evaluate.metrics.significance import paired

SEED = 12345


@dataclass(frozen=True)
class Score:
    """One metric of one system: the value, a 95 % bootstrap interval, and what it takes to repeat it."""

    metric: str
    value: float
    low: float
    high: float
    signature: str
    segments: tuple[float, ...] = ()

    @property
    def told(self) -> str:
        digits = 4 if self.metric == "COMET" else 2
        return f"{self.metric} {self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}] {self.signature}"


def check_hypotheses(hypotheses: Sequence[str], data: DataSet, what: str) -> None:
    """Refuses a number of lines that is not the number of segments."""
    wanted = len(data.segments)
    if len(hypotheses) != wanted:
        raise UserError(
            f"{what} has {len(hypotheses)} lines, {data.name} ({data.split}) has {wanted} segments: a line a segment"
            " is needed; of another segmentation, give --resegment"
        )


def score(
    hypotheses: Sequence[str],
    data: DataSet,
    comet: Comet | None = None,
    cleaned: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """COMET (unless None), chrF, chrF++ and BLEU. `cleaned` only tells the signature whether clean-up was on."""
    references, told = data.references, data_signature(data, cleaned)
    found = []
    if comet is not None:
        segments = comet.score(data.sources, hypotheses, references, progress)
        low, high = interval(segments)
        signature = f"{comet_signature(comet.identity, told)}|bs:{RESAMPLES}|seed:{SEED}"
        found.append(Score("COMET", sum(segments) / len(segments), low, high, signature, tuple(segments)))
    for name, metric in corpus_metrics(data.lang).items():
        result = metric.corpus_score(list(hypotheses), [references], n_bootstrap=RESAMPLES)
        half = float(result._ci)
        signature = f"metric:{name}|{told}|{metric.get_signature()}"
        found.append(Score(name, float(result.score), result._mean - half, result._mean + half, signature))
    return found


def corpus_metrics(lang: str) -> dict[str, Any]:
    return {"chrF": chrf_metric(), "chrF++": chrf_metric(2), "BLEU": bleu_metric(lang)}


@dataclass(frozen=True)
class Versus:
    """First − second in one metric, and how likely so large a difference is by chance; an interval for COMET only."""

    metric: str
    difference: float
    p: float
    low: float | None = None
    high: float | None = None

    @property
    def told(self) -> str:
        digits = 4 if self.metric == "COMET" else 2
        between = "" if self.low is None else f" [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"
        verdict = "differ" if self.p < 0.05 else "no difference shown"
        return f"{self.metric} {self.difference:+.{digits}f}{between} p = {self.p:.4f} ({verdict})"


def versus(
    first: Sequence[str],
    second: Sequence[str],
    data: DataSet,
    comet_segments: tuple[Sequence[float], Sequence[float]] | None = None,
) -> list[Versus]:
    """Paired bootstrap of two systems, metric by metric: ours on COMET's segments, sacrebleu's on its own metrics."""
    from sacrebleu.significance import PairedTest

    found = []
    if comet_segments is not None:
        test = paired(*comet_segments, RESAMPLES, SEED)
        found.append(Versus("COMET", test.difference, test.p, test.low, test.high))
    # sacrebleu tells all that follow the first, the baseline, against it.
    systems = [("second", list(second)), ("first", list(first))]
    metrics = corpus_metrics(data.lang)
    _, scores = PairedTest(systems, metrics, [data.references], test_type="bs", n_samples=RESAMPLES)()
    for name, (baseline, system) in zip(metrics, (scores[key] for key in scores if key != "System"), strict=True):
        difference = system.score - baseline.score
        # sacrebleu calls a difference of 0 certain; nothing is more likely by chance.
        found.append(Versus(name, difference, system.p_value if difference else 1.0))
    return found
