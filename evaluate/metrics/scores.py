"""All metrics of a system, each with its interval and signature, and the comparison of two systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.errors import UserError
from evaluate.data.types import DataSet
from evaluate.metrics.comet import Comet
from evaluate.metrics.mt import corpus_metrics
from evaluate.metrics.significance import RESAMPLES, SEED, interval, paired


@dataclass(frozen=True)
class Score:
    """One metric of one system: the value, a 95 % bootstrap interval, and what it takes to repeat it."""

    metric: str
    value: float
    low: float
    high: float
    signature: str
    segments: tuple[float, ...] = ()

    def __str__(self) -> str:
        digits = 4 if self.metric == "COMET" else 2
        return f"{self.metric} {self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}] {self.signature}"


def check_hypotheses(hypotheses: Sequence[str], data: DataSet, file: str) -> None:
    """Refuses a file whose number of lines is not the number of segments."""
    count = len(data.segments)
    if len(hypotheses) != count:
        raise UserError(
            f"{file} has {len(hypotheses)} lines, {data.name} ({data.split}) has {count} segments: a line a segment"
            " is needed; of another segmentation, give --resegment"
        )


def score(
    hypotheses: Sequence[str],
    data: DataSet,
    comet: Comet | None = None,
    cleaned: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """COMET (unless None), chrF, chrF++ and BLEU. `cleaned` goes into the signature, nothing else."""
    references, data_signature = data.references, data.signature(cleaned)
    scores = []
    if comet is not None:
        segments = comet.score(data.sources, hypotheses, references, progress)
        low, high = interval(segments)
        signature = f"{comet.identity.signature(data_signature)}|bs:{RESAMPLES}|seed:{SEED}"
        scores.append(Score("COMET", sum(segments) / len(segments), low, high, signature, tuple(segments)))
    for name, metric in corpus_metrics(data.lang).items():
        result = metric.corpus_score(list(hypotheses), [references], n_bootstrap=RESAMPLES)
        half = float(result._ci)
        signature = f"metric:{name}|{data_signature}|{metric.get_signature()}"
        low, high = max(0.0, result._mean - half), min(100.0, result._mean + half)  # the metric goes no further
        scores.append(Score(name, float(result.score), low, high, signature))
    return scores


@dataclass(frozen=True)
class Versus:
    """First − second in one metric, and how likely so large a difference is by chance; an interval for COMET only."""

    metric: str
    difference: float
    p: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
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

    differences = []
    if comet_segments is not None:
        test = paired(*comet_segments)
        differences.append(Versus("COMET", test.difference, test.p, test.low, test.high))
    # sacrebleu compares every other system with the first, the baseline.
    systems = [("second", list(second)), ("first", list(first))]
    metrics = corpus_metrics(data.lang)
    _, scores = PairedTest(systems, metrics, [data.references], test_type="bs", n_samples=RESAMPLES)()
    for name, (baseline, system) in zip(metrics, (scores[key] for key in scores if key != "System"), strict=True):
        difference = system.score - baseline.score
        # sacrebleu gives a difference of 0 a p of 0; chance gives one at least as large always.
        differences.append(Versus(name, difference, system.p_value if difference else 1.0))
    return differences
