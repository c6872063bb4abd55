"""Measures all figures of embedded/README.md again and prints them as Markdown.

    python -m benchmarks.embedded_card [--segments 144] [--parts quality,rounding,drops,greedy,metric,time]

About a quarter of an hour on one core. The layer to drop next is chosen on dev; the figures are of eval.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from comet.models import RegressionMetric
from scipy.stats import spearmanr
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

import embedded
from embedded.recipe import speech, train_comet
from embedded.recipe.architecture import LM_LAYERS, PROMPTS
from embedded.recipe.corrupted_translations import ScoredTranslation
from embedded.recipe.damaged_models import ModelDamage, damaged_copy, random_damages
from embedded.recipe.train_translation import chrf, translate

PARTS = ("quality", "rounding", "drops", "greedy", "metric", "time")
DAMAGED = 24
SEED = 11  # of the damaged models; the metric was trained with another


@dataclass(frozen=True)
class SpeechSubset:
    """Evenly spaced segments of dev or eval."""

    rows: list[dict[str, str]]
    waves: list[np.ndarray]

    @classmethod
    def of(cls, split: str, segments: int) -> SpeechSubset:
        rows, waves = speech.read_shipped(embedded.SPEECH, split)
        chosen = np.linspace(0, len(rows) - 1, min(segments, len(rows))).astype(int)
        return cls([rows[i] for i in chosen], [waves[i] for i in chosen])

    def references(self, language: str) -> list[str]:
        return [row[f"target_{language}"] for row in self.rows]


class DamageEvaluator:
    """The shipped model and metric, and the scores of damaged copies of the model."""

    def __init__(self) -> None:
        self.processor = Qwen2AudioProcessor.from_pretrained(embedded.MODEL)
        self.model = Qwen2AudioForConditionalGeneration.from_pretrained(embedded.MODEL).float().eval()
        encoder = embedded.COMET.parents[1] / "encoder"
        self.metric = RegressionMetric.load_from_checkpoint(
            str(embedded.COMET),
            pretrained_model=str(encoder),
            load_pretrained_weights=False,
            local_files_only=True,
            map_location="cpu",
        ).eval()

    def translations(self, damage: ModelDamage, subset: SpeechSubset, language: str) -> list[str]:
        model = damaged_copy(self.model, damage)
        outputs: list[str] = []
        for start in range(0, len(subset.waves), 48):
            outputs += translate(model, self.processor, subset.waves[start : start + 48], language)
        return outputs

    def comet(self, hypotheses: Sequence[str], subset: SpeechSubset, language: str) -> float:
        items = [
            ScoredTranslation(row["source_en"], mt, ref, 0.0)
            for row, mt, ref in zip(subset.rows, hypotheses, subset.references(language), strict=True)
        ]
        return float(np.mean(train_comet.scores(self.metric, items)))

    def row(self, damage: ModelDamage, subset: SpeechSubset) -> dict[str, float]:
        """chrF and COMET of both languages."""
        scores = {}
        for language in PROMPTS:
            hypotheses = self.translations(damage, subset, language)
            scores[f"chrF {language}"] = chrf(hypotheses, subset.references(language))
            scores[f"COMET {language}"] = self.comet(hypotheses, subset, language)
        return scores


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n### {title}\n\n| | {' | '.join(names)} |\n|---{'|---' * len(names)}|", flush=True)
    for label, row in rows.items():
        cells = [f"{v:.1f}" if n.startswith("chrF") else f"{v:.3f}" for n, v in row.items()]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


def quality(evaluator: DamageEvaluator, subset: SpeechSubset) -> None:
    rows = {}
    for language in PROMPTS:
        hypotheses = evaluator.translations(ModelDamage(), subset, language)
        references = subset.references(language)
        exact = float(np.mean([a == b for a, b in zip(hypotheses, references, strict=True)]))
        rows[language] = {
            "chrF": chrf(hypotheses, references),
            "exact": exact,
            "COMET": evaluator.comet(hypotheses, subset, language),
        }
    table(f"Quality on {len(subset.rows)} eval segments", rows)


def rounding(evaluator: DamageEvaluator, subset: SpeechSubset) -> None:
    rows = {}
    for bits in (8, 4, 3, 2, 1):
        rows[f"{bits} bits, all"] = evaluator.row(ModelDamage(bits=bits), subset)
    for bits in (3, 2):
        for part in ("lm", "audio"):
            rows[f"{bits} bits, {part} only"] = evaluator.row(ModelDamage(bits=bits, parts=(part,)), subset)
    table("Round to nearest, groups of 64 (every linear and embedding)", rows)


def drops(evaluator: DamageEvaluator, subset: SpeechSubset) -> None:
    rows = {f"without layer {i}": evaluator.row(ModelDamage(dropped=(i,)), subset) for i in range(LM_LAYERS)}
    table("One LM layer dropped", rows)


def greedy(evaluator: DamageEvaluator, dev: SpeechSubset, subset: SpeechSubset, minimum: int = 6) -> None:
    """Drops layers one by one, each time the one that costs least on dev, until `minimum` are left."""
    rows: dict[str, dict[str, float]] = {}
    dropped: tuple[int, ...] = ()
    while LM_LAYERS - len(dropped) > minimum:
        chrf_without = {}
        for layer in set(range(LM_LAYERS)) - set(dropped):
            damage = ModelDamage(dropped=tuple(sorted((*dropped, layer))))
            scores = [chrf(evaluator.translations(damage, dev, k), dev.references(k)) for k in PROMPTS]
            chrf_without[damage.dropped] = float(np.mean(scores))
        dropped = max(chrf_without, key=lambda k: chrf_without[k])
        rows[f"{LM_LAYERS - len(dropped)} left, without {', '.join(map(str, dropped))}"] = evaluator.row(
            ModelDamage(dropped=dropped), subset
        )
    table(f"LM layers dropped one after the other (chosen on {len(dev.rows)} dev segments)", rows)


def metric(evaluator: DamageEvaluator, subset: SpeechSubset) -> None:
    held_out = train_comet.held_out_corruptions()
    rho = spearmanr(train_comet.scores(evaluator.metric, held_out), [item.score for item in held_out]).statistic
    rows = {str(damage): evaluator.row(damage, subset) for damage in random_damages(DAMAGED, LM_LAYERS, SEED)}
    table(f"{DAMAGED} damaged models", rows)
    print(f"\nSpearman with the target scores of {len(held_out)} held-out corruptions: {rho:.3f}")
    for language in PROMPTS:
        pairs = [(row[f"chrF {language}"], row[f"COMET {language}"]) for row in rows.values()]
        rho = spearmanr(*zip(*pairs, strict=True)).statistic
        print(f"Spearman with chrF over the damaged models, {language}: {rho:.3f}")


def seconds(evaluator: DamageEvaluator, subset: SpeechSubset) -> None:
    first = SpeechSubset(subset.rows[:64], subset.waves[:64])
    started = time.monotonic()
    hypotheses = evaluator.translations(ModelDamage(), first, "zh")
    evaluator.comet(hypotheses, first, "zh")
    print(f"\nOne candidate (64 segments, zh, greedy, COMET) on one thread: {time.monotonic() - started:.1f} s")


def sizes() -> None:
    model = Qwen2AudioForConditionalGeneration.from_pretrained(embedded.MODEL)
    parts = {"model": embedded.MODEL, "comet": embedded.COMET.parents[1], "speech": embedded.SPEECH}
    for name, folder in parts.items():
        total = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        print(f"{name}: {total / 1e6:.2f} MB")
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--segments", type=int, default=144)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    chosen = options.parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    evaluator, dev, subset = DamageEvaluator(), SpeechSubset.of("dev", 48), SpeechSubset.of("eval", options.segments)
    sizes()
    if "quality" in chosen:
        quality(evaluator, subset)
    if "rounding" in chosen:
        rounding(evaluator, subset)
    if "drops" in chosen:
        drops(evaluator, subset)
    if "greedy" in chosen:
        greedy(evaluator, dev, subset)
    if "metric" in chosen:
        metric(evaluator, subset)
    if "time" in chosen:
        seconds(evaluator, subset)


if __name__ == "__main__":
    main()
