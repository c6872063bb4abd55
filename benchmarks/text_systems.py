"""`wmt25` on a small text model: layers pruned greedily, then one epoch on gold alone or on gold and the teacher's.

    python -m benchmarks.text_systems [--work DIR] [--lang en-de] [--epochs 3] [--out FILE.md]

The text model is made here: the language model of the embedded one, which has only heard speech so far, fine-tuned by
search.teach on sentences of the same grammar, written. Then `search.published wmt25` prunes it to three quarters, five
eighths and a half of its layers, as published (24, 20 and 16 of 32), and trains it by both methods. What is finished
stays in --work, so the command may be killed and given again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import compress
import embedded
from compress.policy.recipes import original_policy
from evaluate.data.open import open_data
from evaluate.evaluate import SegmentMetric
from evaluate.metrics.comet import Comet
from results.atomic_write import write_atomically
from search import published
from search.recovery.job import scored, size
from search.recovery.systems import SYSTEMS, SystemBuild
from search.teach import teach

METHODS = ("none", "sft", "seqkd")
NAMES = {"none": "pruned", "sft": "fine-tuned", "seqkd": "distilled"}
LAYERS = 12
DROPS = (3, 5, 6)  # of 12: what 8, 12 and 16 are of 32 (12 would be four and a half)
TALKS, AGAIN = 1500, 400  # to learn from, 16 sentences each; to train on after pruning
LEARNING = {"learning_rate": 2e-3, "warmup": 0.05, "checkpoint_every": 500}
BATCH, HELD_OUT = 32, 0.02


def sentences(folder: Path, lang: str) -> dict[str, str]:
    """Files of parallel text for each split, and their specs."""
    from embedded.recipe import speech
    from embedded.recipe.talks import Sizes, splits

    folder.mkdir(parents=True, exist_ok=True)
    target = lang.partition("-")[2]
    specs = {}
    made = splits(speech.SEED, Sizes(train=TALKS))
    for split, talks in {**made, "again": made["train"][:AGAIN]}.items():
        said = [sentence for talk in talks for sentence in talk.sentences]
        files = folder / f"{split}.en", folder / f"{split}.{target}"
        write_atomically(files[0], "".join(f"{sentence.en}\n" for sentence in said))
        write_atomically(files[1], "".join(f"{getattr(sentence, target)}\n" for sentence in said))
        specs[split] = f"text:{files[0]},{files[1]}"
    return specs


def text_model(folder: Path) -> Path:
    """The embedded model's language model as a text model of its own, still untaught."""
    from transformers import AutoTokenizer, Qwen2AudioForConditionalGeneration

    if not folder.is_dir():
        whole = Qwen2AudioForConditionalGeneration.from_pretrained(embedded.MODEL, dtype=torch.bfloat16)
        beside = folder.with_name(f".{folder.name}.part")
        whole.language_model.save_pretrained(beside)
        AutoTokenizer.from_pretrained(embedded.MODEL).save_pretrained(beside)
        beside.rename(folder)
    return folder


class Bench:
    """One language: the taught text model, and rows that are done."""

    def __init__(self, work: Path, lang: str, epochs: float, score: SegmentMetric) -> None:
        self.work, self.lang, self.score = work / lang, lang, score
        self.specs = sentences(self.work / "texts", lang)
        self.model = self.work / "taught"
        if not self.model.is_dir():
            untaught = text_model(self.work / "untaught")
            settings = {**LEARNING, "epochs": epochs}
            teach(
                str(untaught),
                self.specs["train"],
                "train",
                lang,
                self.model,
                held_out=HELD_OUT,
                batch=BATCH,
                settings=settings,
            )

    def whole(self) -> dict[str, Any]:
        """The taught model as it is."""
        path = self.work / "whole.json"
        if not path.is_file():
            source, store = compress.Source.open(self.model), compress.Store(self.work / "store")
            policy = original_policy(source)
            plain = compress.RecoveredSource(source, compress.RecoveryDelta(policy))
            task = SystemBuild(SYSTEMS["wmt25"], self.given(3, "none"), {}).task(str(self.model), policy)
            found = scored(task, plain, store, open_data(self.specs["eval"], "eval", self.lang), self.score)
            scores = found["comet_segments"]
            kept = {"bytes": size(plain, store), "comet": sum(scores) / len(scores), "chrf": found["chrf"]}
            write_atomically(path, json.dumps(kept))
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return known

    def given(self, drop: int, method: str) -> argparse.Namespace:
        return published.parser().parse_args(self.arguments(drop, method))

    def arguments(self, drop: int, method: str) -> list[str]:
        train, judge = self.specs["again"], self.specs["eval"]
        return [
            "wmt25", "--model", str(self.model), "--fine-tuned", "--lang", self.lang, "--drop", str(drop),
            "--method", method, "--train", train, "--data", judge, "--split", "eval", "--comet", "embedded",
            "--held-out", str(HELD_OUT), "--train-batch", str(BATCH), "--device", "cpu",
            "--out", str(self.out(drop, method)),
        ]  # fmt: skip

    def out(self, drop: int, method: str) -> Path:
        return self.work / f"drop{drop}-{method}"

    def row(self, drop: int, method: str) -> dict[str, Any]:
        """What the command does; the first rounds of pruning are those of the smaller number of layers."""
        out = self.out(drop, method)
        out.mkdir(parents=True, exist_ok=True)
        for before in (self.out(d, m) / "pruning.jsonl" for d in reversed(DROPS) if d <= drop for m in METHODS):
            if before.is_file() and not (out / before.name).is_file():
                shutil.copy(before, out)
        published.main(self.arguments(drop, method))
        found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        return found


def table(lang: str, whole: dict[str, Any], found: dict[tuple[int, str], dict[str, Any]]) -> str:
    """Markdown: a line for each number of layers left, COMET and chrF of each method."""
    methods = [method for method in METHODS if any(key[1] == method for key in found)]
    lines = [f"| {lang}: layers left | bytes | " + " | ".join(f"{NAMES[m]}: COMET | chrF" for m in methods) + " |"]
    lines.append("|" + "---|" * (2 + 2 * len(methods)))
    cells = [f"{whole['comet']:.4f} | {whole['chrf']:.1f}", *["| "] * (len(methods) - 1)]
    lines.append(f"| {LAYERS} (whole) | {whole['bytes']:,} | " + " | ".join(cells) + " |")
    for drop in DROPS:
        rows = [found.get((drop, method)) for method in methods]
        if first := next(filter(None, rows), None):
            cells = [f"{row['comet']:.4f} | {row['chrf']:.1f}" if row else " | " for row in rows]
            lines.append(f"| {LAYERS - drop} | {first['bytes']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/text"), help="texts, models and results")
    parser.add_argument("--lang", default="en-de", choices=("en-de", "en-zh"))
    parser.add_argument("--epochs", type=float, default=3.0, help="of teaching the text model, 24,000 sentences each")
    parser.add_argument("--out", type=Path, help="the table as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    comet = Comet(str(embedded.COMET), threads=1)
    bench = Bench(given.work, given.lang, given.epochs, comet.score)
    whole, found = bench.whole(), {}
    comet.close()
    for drop in DROPS:
        for method in METHODS:
            found[drop, method] = bench.row(drop, method)
            print(table(given.lang, whole, found), flush=True)
            if given.out:
                write_atomically(given.out, table(given.lang, whole, found) + "\n")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
