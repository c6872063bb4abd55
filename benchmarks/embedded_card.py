"""Re-measures every figure of embedded/README.md and prints it as Markdown.

    python -m benchmarks.embedded_card [--segments 144] [--parts quality,rounding,drops,greedy,metric,time]

About a quarter of an hour on one core. Choices (which layer to drop next) are made on dev, figures are of eval.
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
from embedded.recipe import architecture, damaged_models, speech, train_comet, train_translation
from embedded.recipe.corrupted_translations import ScoredTranslation

PARTS = ("quality", "rounding", "drops", "greedy", "metric", "time")
DAMAGED = 24
SEED = 11  # other damaged models than the metric was trained on


@dataclass(frozen=True)
class Set:
    rows: list[dict[str, str]]
    waves: list[np.ndarray]

    @classmethod
    def of(cls, split: str, segments: int) -> Set:
        rows, waves = speech.read_shipped(embedded.SPEECH, split)
        chosen = np.linspace(0, len(rows) - 1, min(segments, len(rows))).astype(int)
        return cls([rows[i] for i in chosen], [waves[i] for i in chosen])

    def references(self, language: str) -> list[str]:
        return [row[f"target_{language}"] for row in self.rows]


class Trio:
    """The shipped model and metric, and what a damaged copy of the model scores."""

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

    def said(self, harm: damaged_models.ModelDamage, where: Set, language: str) -> list[str]:
        model = damaged_models.damaged_copy(self.model, harm)
        found: list[str] = []
        for start in range(0, len(where.waves), 48):
            found += train_translation.translate(model, self.processor, where.waves[start : start + 48], language)
        return found

    def comet(self, hypotheses: Sequence[str], where: Set, language: str) -> float:
        items = [
            ScoredTranslation(row["source_en"], mt, ref, 0.0)
            for row, mt, ref in zip(where.rows, hypotheses, where.references(language), strict=True)
        ]
        return float(np.mean(train_comet.scores(self.metric, items)))

    def row(self, harm: damaged_models.ModelDamage, where: Set) -> dict[str, float]:
        """chrF and COMET of both languages."""
        out = {}
        for language in architecture.PROMPTS:
            made = self.said(harm, where, language)
            out[f"chrF {language}"] = train_translation.chrf(made, where.references(language))
            out[f"COMET {language}"] = self.comet(made, where, language)
        return out


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n### {title}\n\n| | {' | '.join(names)} |\n|---{'|---' * len(names)}|", flush=True)
    for label, row in rows.items():
        cells = [f"{v:.1f}" if n.startswith("chrF") else f"{v:.3f}" for n, v in row.items()]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


def quality(trio: Trio, where: Set) -> None:
    rows = {}
    for language in architecture.PROMPTS:
        made, truth = trio.said(damaged_models.ModelDamage(), where, language), where.references(language)
        exact = float(np.mean([a == b for a, b in zip(made, truth, strict=True)]))
        rows[language] = {
            "chrF": train_translation.chrf(made, truth),
            "exact": exact,
            "COMET": trio.comet(made, where, language),
        }
    table(f"Quality on {len(where.rows)} eval segments", rows)


def rounding(trio: Trio, where: Set) -> None:
    rows = {}
    for bits in (8, 4, 3, 2, 1):
        rows[f"{bits} bits, all"] = trio.row(damaged_models.ModelDamage(bits=bits), where)
    for bits in (3, 2):
        for part in ("lm", "audio"):
            rows[f"{bits} bits, {part} only"] = trio.row(damaged_models.ModelDamage(bits=bits, parts=(part,)), where)
    table("Round to nearest, groups of 64 (every linear and embedding)", rows)


def drops(trio: Trio, where: Set) -> None:
    rows = {f"without layer {i}": trio.row(damaged_models.ModelDamage(dropped=(i,)), where) for i in range(architecture.LM_LAYERS)}
    table("One LM layer dropped", rows)


def greedy(trio: Trio, dev: Set, where: Set, leave: int = 6) -> None:
    """Drops the layer that costs least on dev, again and again."""
    rows: dict[str, dict[str, float]] = {}
    gone: tuple[int, ...] = ()
    while architecture.LM_LAYERS - len(gone) > leave:
        tried = {}
        for layer in set(range(architecture.LM_LAYERS)) - set(gone):
            harm = damaged_models.ModelDamage(dropped=tuple(sorted((*gone, layer))))
            found = [train_translation.chrf(trio.said(harm, dev, k), dev.references(k)) for k in architecture.PROMPTS]
            tried[harm.dropped] = float(np.mean(found))
        gone = max(tried, key=lambda k: tried[k])
        rows[f"{architecture.LM_LAYERS - len(gone)} left, without {', '.join(map(str, gone))}"] = trio.row(
            damaged_models.ModelDamage(dropped=gone), where
        )
    table(f"LM layers dropped one after the other (chosen on {len(dev.rows)} dev segments)", rows)


def metric(trio: Trio, where: Set) -> None:
    held = train_comet.held_out_corruptions()
    rho = spearmanr(train_comet.scores(trio.metric, held), [h.score for h in held]).statistic
    rows = {str(harm): trio.row(harm, where) for harm in damaged_models.random_damages(DAMAGED, architecture.LM_LAYERS, SEED)}
    table(f"{DAMAGED} damaged models", rows)
    print(f"\nSpearman with the worth of {len(held)} held-out corruptions: {rho:.3f}")
    for language in architecture.PROMPTS:
        pairs = [(row[f"chrF {language}"], row[f"COMET {language}"]) for row in rows.values()]
        rho = spearmanr(*zip(*pairs, strict=True)).statistic
        print(f"Spearman with chrF over the damaged models, {language}: {rho:.3f}")


def seconds(trio: Trio, where: Set) -> None:
    some = Set(where.rows[:64], where.waves[:64])
    began = time.monotonic()
    made = trio.said(damaged_models.ModelDamage(), some, "zh")
    trio.comet(made, some, "zh")
    print(f"\nOne candidate (64 segments, zh, greedy, COMET) on one thread: {time.monotonic() - began:.1f} s")


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
    given = parser.parse_args()
    wanted = given.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    trio, dev, where = Trio(), Set.of("dev", 48), Set.of("eval", given.segments)
    sizes()
    if "quality" in wanted:
        quality(trio, where)
    if "rounding" in wanted:
        rounding(trio, where)
    if "drops" in wanted:
        drops(trio, where)
    if "greedy" in wanted:
        greedy(trio, dev, where)
    if "metric" in wanted:
        metric(trio, where)
    if "time" in wanted:
        seconds(trio, where)


if __name__ == "__main__":
    main()
