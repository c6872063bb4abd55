"""Recovery on the embedded model: what is lost by dropping layers and bits, and what each method gives back.

    python -m benchmarks.recovery [--work DIR] [--lang en-de,en-zh] [--rows NAME,…] [--talks 100] [--out FILE.md]

Trained on the embedded training speech (spoken again by its recipe), scored on all of eval, which nothing is trained or
chosen on. Every method gets the same speech and the same number of steps for the same kind of training. A row that is
finished is kept in --work, so the command may be killed and given again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import compress
import embedded
from compress import Policy
from compress.calibration import calibrate
from compress.recipes import recipe
from evaluate.batches import prepare
from evaluate.closeness import append_translations
from evaluate.comet import Comet
from evaluate.dataset import open_data
from results.files import write_atomically
from search.recovery.speech import speak
from search.recovery.task import Task
from search.recovery.work import original, recover, scored

LANGUAGES = ("en-de", "en-zh")
DROPS = {
    25: ("lm.3", "lm.4", "lm.8"),
    50: ("lm.3", "lm.4", "lm.5", "lm.6", "lm.8", "lm.10"),
}  # greedy, embedded/README.md
CALIBRATED_ON = 96  # segments of the training speech
BATCH = 16


@dataclass(frozen=True)
class Row:
    """What is done: a policy by name, and a method with its steps for each stage; no method, no training."""

    name: str
    group: str
    what: str
    policy: str
    method: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    rate: float | None = None


LONG, WHOLE, SHORT = 250, 100, 60  # steps
BOTH = {"whole": WHOLE, "adapters": SHORT}
ROWS = (
    Row("original", "", "original", "raw"),
    Row("drop25", "25 % of the LM layers", "dropped", "drop:25"),
    Row("drop25-heal", "25 % of the LM layers", "heal, 250 steps", "drop:25", "heal", {"whole": LONG}),
    Row("drop25-heal-long", "25 % of the LM layers", "heal, 600 steps", "drop:25", "heal", {"whole": 600}),
    Row("diet", "at equal bytes", "`diet` (mixed levels, no training)", "diet"),
    Row("ours", "at equal bytes", "ours: one `grid` level, `codes`, 60 steps", "ours", "codes", {"codes": SHORT}),
    Row("ours-long", "at equal bytes", "ours: one `grid` level, `codes`, 250 steps", "ours", "codes", {"codes": LONG}),
    Row("diet-codes", "at equal bytes", "ours: levels of `diet`, `codes`, 250 steps", "diet", "codes", {"codes": LONG}),
    Row("moslem-a", "at equal bytes", "`moslem-a`: NF4, `qlora:2`", "nf4", "qlora:2", {"adapters": SHORT}),
    Row("moslem-b", "at equal bytes", "`moslem-b`: 25 % dropped, NF4, `heal+qlora:2`", "nf4:25", "heal+qlora:2", BOTH),
    Row("grid2", "`grid@2`, calibrated", "compressed", "grid@2"),
    Row("grid2-codes", "`grid@2`, calibrated", "codes", "grid@2", "codes", {"codes": SHORT}),
    Row("grid2-cheap", "`grid@2`, calibrated", "cheap", "grid@2", "cheap", {"cheap": SHORT}),
    Row("grid2-lora", "`grid@2`, calibrated", "lora:2:grid@6", "grid@2", "lora:2:grid@6", {"adapters": SHORT}),
    Row("drop50", "50 % of the LM layers", "dropped", "drop:50"),
    Row("drop50-heal", "50 % of the LM layers", "heal, 250 steps", "drop:50", "heal", {"whole": LONG}),
    Row("drop25-sft", "25 % of the LM layers", "sft", "drop:25", "sft", {"whole": WHOLE}),
    Row("drop25-seqkd", "25 % of the LM layers", "seqkd", "drop:25", "seqkd", {"whole": WHOLE}),
    Row("drop25-heal-short", "25 % of the LM layers", "heal", "drop:25", "heal", {"whole": WHOLE}),
    Row("drop25-qlora", "25 % of the LM layers", "qlora:4", "drop:25", "qlora:4", {"adapters": SHORT}),
    Row("drop25-lora", "25 % of the LM layers", "lora:4", "drop:25", "lora:4", {"adapters": SHORT}),
    Row("drop25-cheap", "25 % of the LM layers", "cheap (norms and biases)", "drop:25", "cheap", {"cheap": SHORT}),
    Row("grid2-qlora", "`grid@2`, calibrated", "qlora:2:grid@6", "grid@2", "qlora:2:grid@6", {"adapters": SHORT}),
)  # fmt: skip


class Bench:
    """The embedded model, its training speech, and rows that are done."""

    def __init__(self, work: Path, talks: int) -> None:
        self.work = work
        self.source = compress.Source.open(embedded.MODEL)
        self.store = compress.Store(work / "store")
        self.train = f"manifest:{speak(work / 'speech', talks)}"
        self.comet = Comet(str(embedded.COMET), threads=1)
        self._calibrations: dict[str, str] = {}

    def row(self, row: Row, lang: str) -> dict[str, Any]:
        path = self.work / "rows" / f"{lang}-{row.name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        policy = self.policy(row.policy, lang)
        task = self.task(row, lang, policy)
        began = time.perf_counter()
        if row.method:
            outcome = recover(task, self.comet.score, _tell)
        else:
            plain = compress.Recovered(self.source, compress.Recovery(policy))
            data = open_data("embedded", "eval", lang)
            outcome = scored(task, plain, self.store, data, self.comet.score) | {
                "bytes": self.bytes(policy),
                "stages": [],
            }
        scores = outcome["comet_segments"]
        kept = {
            "comet": sum(scores) / len(scores),
            "comet_segments": scores,
            "chrf": outcome["chrf"],
            "bytes": outcome["bytes"],
            "segments": len(scores),
            "steps": [stage["steps"] for stage in outcome["stages"]],
            "stopped": outcome.get("training_stopped", ""),
            "seconds": time.perf_counter() - began,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(kept))
        return kept

    def bytes(self, policy: Policy) -> int:
        wanted = compress.Wanted(calibration=policy.calibration)
        for unit, level in policy.levels.items():
            compress.build(self.source, unit, level, self.store, wanted=wanted)
        return compress.Ledger(self.source, self.store, (), policy.calibration).predict(policy)

    def policy(self, name: str, lang: str) -> Policy:
        """`raw`, `drop:25`, `nf4:25`, `diet`, `grid@R`; `ours` is the largest `grid` above none of the others."""
        kind, _, share = name.partition(":")
        dropped = DROPS[int(share)] if share else ()
        raw = original(self.source, dropped)
        if kind in ("raw", "drop"):
            return raw
        if kind == "nf4":
            return replace(raw, levels={**raw.levels, **self._nf4(dropped)})
        if kind == "diet":
            found = recipe("diet", self.source.anatomy, self.source.digest)
            return replace(found, calibration=self.calibration(lang))
        if kind != "ours":
            return replace(raw, levels=dict.fromkeys(raw.levels, kind), calibration=self.calibration(lang))
        limit = min(self.bytes(self.policy(other, lang)) for other in ("diet", "nf4", "nf4:25"))
        weights = sum(unit.weights for unit in self.source.anatomy.units.values())
        besides = self.bytes(raw) - 2 * weights  # what is not encoded matrices: bfloat16 takes two bytes a weight
        rate = math.floor(20 * 8 * (0.997 * limit - besides) / weights) / 20
        return self.policy(f"grid@{rate:g}", lang)

    def _nf4(self, dropped: tuple[str, ...]) -> dict[str, str]:
        """The published levels: NF4 for linears, half precision for embedding, head and convolutions."""
        units = [u for u in self.source.anatomy.units.values() if u.layer not in dropped]
        return {u.name: "nf4" for u in units if u.kind in {"attention", "mlp", "projector"}}

    def calibration(self, lang: str) -> str:
        """Statistics from training speech and its references."""
        if lang not in self._calibrations:
            data = open_data(self.train, "train", lang).first(CALIBRATED_ON)
            resident = compress.Resident(self.source, self.store)
            taught = [
                append_translations(batch, resident.processor, data.references)
                for batch in prepare(data, resident.processor, 24)
            ]
            batches, places = [inputs for inputs, _ in taught], [where for _, where in taught]
            self._calibrations[lang] = calibrate(self.source, batches, self.store, places=places, resident=resident)
        return self._calibrations[lang]

    def task(self, row: Row, lang: str, policy: Policy) -> Task:
        place = self.work / "recovered" / f"{lang}-{row.name}"
        segments = len(open_data(self.train, "train", lang).segments) * 0.85
        epochs = {stage: steps * BATCH / segments for stage, steps in row.steps.items()}
        return Task(
            name=row.name,
            parent=row.policy,
            method=row.method or "sft",
            model=str(embedded.MODEL),
            policy=policy.to_json(),
            store=str(self.work / "store"),
            lang=lang,
            data="embedded",
            split="eval",
            train=self.train,
            train_split="train",
            out=str(place),
            work=str(self.work / "training" / f"{lang}-{row.name}"),
            train_batch=BATCH,
            batch_size=48,
            max_new_tokens=64,
            threads=1,
            settings={"checkpoint_every": 60, **({"learning_rate": row.rate} if row.rate else {})},
            stage_epochs=epochs,
        )


def _tell(entry: dict[str, Any]) -> None:
    if "held_out" in entry:
        print(f"  {entry['stage']} {entry['step']}/{entry['steps']}: held out {entry['held_out']:.4f}", flush=True)


def table(found: Mapping[tuple[str, str], dict[str, Any]], langs: tuple[str, ...]) -> str:
    """Markdown: a line a row, and how much of the lost COMET came back."""
    lines = ["| | method | " + " | ".join(f"bytes {x} | COMET {x} | given back {x}" for x in langs) + " |"]
    lines.append("|" + "---|" * (2 + 3 * len(langs)))
    for group in dict.fromkeys(row.group for row in ROWS):
        for row in (row for row in ROWS if row.group == group):
            cells = [_cells(found, row, lang) for lang in langs]
            if any(cell.strip(" |") for cell in cells):
                lines.append(f"| {group} | {row.what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(found: Mapping[tuple[str, str], dict[str, Any]], row: Row, lang: str) -> str:
    mine, top = found.get((lang, row.name)), found.get((lang, "original"))
    if mine is None:
        return " | | "
    base = found.get(
        (lang, {"25 % of the LM layers": "drop25", "50 % of the LM layers": "drop50"}.get(row.group, "grid2"))
    )
    share = ""
    if row.method and row.group and "equal" not in row.group and base and top and top["comet"] > base["comet"]:
        share = f"{(mine['comet'] - base['comet']) / (top['comet'] - base['comet']):.0%}"
    return f"{mine['bytes']:,} | {mine['comet']:.4f} | {share}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/recovery"), help="rows, speech and store")
    parser.add_argument("--lang", default=",".join(LANGUAGES))
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--talks", type=int, default=300)
    parser.add_argument("--out", type=Path, help="the table as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.work, given.talks)
    langs = tuple(given.lang.split(","))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for row in ROWS if row.name in given.rows.split(",")):
        for lang in langs:
            found[lang, row.name] = mine = bench.row(row, lang)
            print(
                f"{lang} {row.name}: {mine['bytes']:,} bytes, COMET {mine['comet']:.4f}, {mine['seconds']:.0f} s",
                flush=True,
            )
            if given.out:
                write_atomically(given.out, table(found, langs) + "\n")
    print(table(found, langs))
    bench.comet.close()


if __name__ == "__main__":
    main()
