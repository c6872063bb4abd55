"""Recovery on the embedded model: what is lost by dropping layers and bits, and what each method gives back.

    python -m benchmarks.recovery [--work DIR] [--lang en-de,en-zh] [--rows NAME,…] [--confirm TALKS] [--out FILE.md]

Trained on talks that the embedded model has not heard (spoken by its recipe), scored on all of eval, which nothing is
trained or chosen on. Every method gets the same speech and the same number of steps, begins with the embedded model and
has it as its teacher. At equal bytes differences are small: there all begin with the embedded model fine-tuned on these
talks, as published, and are scored on further talks as well; with --confirm they are compared once more on talks that
nothing was trained, chosen or scored on before. A row that is finished is kept in --work, so the command may be killed
and given again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import compress
import embedded
from compress import Policy
from compress.calibration.calibrate import calibrate
from compress.policy.recipes import original_policy, recipe
from evaluate.data.open import open_data
from evaluate.decoding.batches import prepare
from evaluate.evaluate import SegmentMetric
from evaluate.metrics.comet import Comet
from evaluate.metrics.divergence import append_translations
from evaluate.metrics.significance import paired
from evaluate.spec import EvalSpec
from results.atomic_write import write_atomically
from search.recovery.data import PREPARED, open_lessons
from search.recovery.job import recover, scored, size
from search.recovery.synthetic_speech import speak
from search.recovery.task import Task
from search.teach import teach

LANGUAGES = ("en-de", "en-zh")
DROPS = {
    25: ("lm.3", "lm.4", "lm.8"),
    50: ("lm.3", "lm.4", "lm.5", "lm.6", "lm.8", "lm.10"),
}  # greedy, embedded/README.md
CALIBRATED_ON = 96  # segments of the training speech
BATCH = 16
TUNING = {"learning_rate": 1e-4, "epochs": 1.0, "warmup": 0.05, "checkpoint_every": 50}  # before all at equal bytes


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
    rival: str = ""  # of ours, at no more bytes

    @property
    def tuned(self) -> bool:
        """Begins with the fine-tuned model, and is scored on more."""
        return self.group == E


EACH, LONG = 100, 300  # steps of a method, all its stages together; of `heal` where it says so
A, B, G, E = "25 % of the LM layers", "50 % of the LM layers", "`grid@2`, calibrated", "at equal bytes"
WHOLE, CODES, CHEAP, ADAPTERS = ({stage: EACH} for stage in ("whole", "codes", "cheap", "adapters"))
ROWS = (
    Row("original", "", "original", "raw"),
    Row("drop25", A, "dropped", "drop:25"),
    Row("drop25-heal", A, "heal", "drop:25", "heal", WHOLE),
    Row("drop25-heal-long", A, f"heal, {LONG} steps", "drop:25", "heal", {"whole": LONG}),
    Row("tuned", E, "fine-tuned, what all below begin with", "raw"),
    Row("diet", E, "`diet`: mixed levels, no training", "diet", rival="ours"),
    Row("ours", E, "ours: one `grid` level, `codes`", "ours", "codes", CODES),
    Row("ours-low", E, "the same at three quarters of these bytes", "ours:0.75", "codes", CODES),
    Row("moslem-a", E, "`moslem-a`: NF4, `qlora:2`", "nf4", "qlora:2", ADAPTERS, rival="ours-wide"),
    Row("moslem-b", E, "`moslem-b`: 25 % dropped, NF4, `heal+qlora:2`", "nf4:25", "heal+qlora:2",
        {"whole": EACH // 2, "adapters": EACH // 2}, rival="ours"),
    Row("ours-wide", E, "ours at the bytes of NF4", "ours:nf4", "codes", CODES),
    Row("drop50", B, "dropped", "drop:50"),
    Row("drop50-heal-long", B, f"heal, {LONG} steps", "drop:50", "heal", {"whole": LONG}),
    Row("grid2", G, "compressed", "grid@2"),
    Row("grid2-codes", G, "codes", "grid@2", "codes", CODES),
    Row("grid2-cheap", G, "cheap", "grid@2", "cheap", CHEAP),
    Row("grid2-lora", G, "lora:2:grid@6", "grid@2", "lora:2:grid@6", ADAPTERS),
    Row("grid2-qlora", G, "qlora:2:grid@6", "grid@2", "qlora:2:grid@6", ADAPTERS),
    Row("drop25-seqkd", A, "seqkd", "drop:25", "seqkd", WHOLE),
    Row("drop25-lora", A, "lora:4", "drop:25", "lora:4", ADAPTERS),
    Row("drop25-qlora", A, "qlora:4", "drop:25", "qlora:4", ADAPTERS),
    Row("drop25-cheap", A, "cheap (norms and biases)", "drop:25", "cheap", CHEAP),
    Row("drop25-sft", A, "sft", "drop:25", "sft", WHOLE),
    Row("drop50-heal", B, "heal", "drop:50", "heal", WHOLE),
    Row("drop50-seqkd", B, "seqkd", "drop:50", "seqkd", WHOLE),
    Row("drop50-qlora", B, "qlora:4", "drop:50", "qlora:4", ADAPTERS),
    Row("drop50-lora", B, "lora:4", "drop:50", "lora:4", ADAPTERS),
    Row("drop50-cheap", B, "cheap (norms and biases)", "drop:50", "cheap", CHEAP),
    Row("drop50-sft", B, "sft", "drop:50", "sft", WHOLE),
)  # fmt: skip


class Bench:
    """One language: the embedded model, training speech, and rows that are done."""

    def __init__(self, work: Path, talks: int, unheard: int, lang: str, score: SegmentMetric) -> None:
        self.work, self.lang, self.score = work, lang, score
        self.store = compress.Store(work / "store")
        self.train = f"manifest:{speak(work / 'speech', talks)}"
        self.unheard = f"manifest:{speak(work / 'unheard', unheard, after=talks)}"
        self.fresh = (work / "fresh", talks + unheard)
        self._sources = {False: compress.Source.open(embedded.MODEL)}
        self._calibrations: dict[str, str] = {}

    def source(self, tuned: bool) -> compress.Source:
        """The embedded model, as it is or fine-tuned on the training talks."""
        if tuned not in self._sources:
            folder = self.work / f"tuned-{self.lang}"
            if not folder.is_dir():
                teach("embedded", self.train, "train", self.lang, folder, batch=BATCH, settings=dict(TUNING))
            self._sources[tuned] = compress.Source.open(folder)
        return self._sources[tuned]

    def row(self, row: Row) -> dict[str, Any]:
        path = self.work / "rows" / f"{self.lang}-{row.name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        began = time.perf_counter()
        source = self.source(row.tuned)
        policy = self.policy(row.policy, source)
        data = open_data("embedded", "eval", self.lang)
        if row.method:
            outcome = recover(self.task(row, source, policy), self.score, _tell)
        task, made = self.finished(row)
        if not row.method:
            outcome = scored(task, made, self.store, data, self.score) | {"bytes": self.bytes(policy, source)}
        scores, stages = outcome["comet_segments"], outcome.get("stages", [])
        kept = {
            "comet": mean(scores),
            "comet_segments": scores,
            "chrf": outcome["chrf"],
            "bytes": outcome["bytes"],
            "steps": [stage["steps"] for stage in stages],
            "curves": [[entry["held_out"] for entry in stage["curve"]] for stage in stages],
            "stopped": outcome.get("training_stopped", ""),
            "seconds": time.perf_counter() - began,
        }
        if row.tuned:
            further = open_data(self.unheard, "train", self.lang)
            kept["unheard_segments"] = scored(task, made, self.store, further, self.score)["comet_segments"]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(kept))
        return kept

    def confirmed(self, row: Row, talks: int) -> list[float]:
        """COMET of a finished row, segment by segment, on `talks` behind all that it was trained and scored on."""
        path = self.work / "rows" / f"{self.lang}-{row.name}-confirm{talks}.json"
        if not path.exists():
            folder, after = self.fresh
            fresh = open_data(f"manifest:{speak(folder, talks, after=after)}", "train", self.lang)
            task, made = self.finished(row)
            found = scored(task, made, self.store, fresh, self.score)["comet_segments"]
            write_atomically(path, json.dumps(found))
        kept: list[float] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def finished(self, row: Row) -> tuple[Task, compress.RecoveredSource]:
        source = self.source(row.tuned)
        policy = self.policy(row.policy, source)
        task = self.task(row, source, policy)
        read = compress.RecoveryDelta.read(task.out) if row.method else compress.RecoveryDelta(policy)
        return task, compress.RecoveredSource(source, read)

    def bytes(self, policy: Policy, source: compress.Source) -> int:
        return size(compress.RecoveredSource(source, compress.RecoveryDelta(policy)), self.store)

    def policy(self, name: str, source: compress.Source) -> Policy:
        """`raw`, `drop:25`, `nf4:25`, `diet`, `grid@R`; `ours`: the largest `grid` under all others, `ours:nf4`: under
        NF4, `ours:0.75`: at that share of the bytes of the smallest."""
        kind, _, share = name.partition(":")
        dropped = DROPS[int(share)] if share.isdigit() else ()
        raw = original_policy(source, dropped)
        if kind in ("raw", "drop"):
            return raw
        if kind == "nf4":
            return replace(raw, levels={**raw.levels, **self._nf4(source, dropped)})
        if kind == "diet":
            return replace(recipe("diet", source.structure, source.digest), calibration=self.calibration(source))
        if kind != "ours":
            return replace(raw, levels=dict.fromkeys(raw.levels, kind), calibration=self.calibration(source))
        others = (share,) if share == "nf4" else ("diet", "nf4", "nf4:25")
        limit = min(self.bytes(self.policy(other, source), source) for other in others)
        limit = int(limit * (1.0 if share in ("", "nf4") else float(share)))
        weights = sum(unit.weights for unit in source.structure.units.values())
        besides = self.bytes(raw, source) - 2 * weights  # what is no encoded matrix: bfloat16 takes two bytes a weight
        rate = math.floor(20 * 8 * (0.997 * limit - besides) / weights) / 20
        return self.policy(f"grid@{rate:g}", source)

    def _nf4(self, source: compress.Source, dropped: tuple[str, ...]) -> dict[str, str]:
        """The published levels: NF4 for linears, half precision for embedding, head and convolutions."""
        units = [u for u in source.structure.units.values() if u.layer not in dropped]
        return {u.name: "nf4" for u in units if u.kind in {"attention", "mlp", "projector"}}

    def calibration(self, source: compress.Source) -> str:
        """Statistics from training speech and its references."""
        if source.digest not in self._calibrations:
            data = open_data(self.train, "train", self.lang).first(CALIBRATED_ON)
            resident = compress.Resident(source, self.store)
            taught = [
                append_translations(batch, resident.processor, data.references)
                for batch in prepare(data, resident.processor, 24)
            ]
            batches, places = [inputs for inputs, _ in taught], [where for _, where in taught]
            found = calibrate(source, batches, self.store, target_masks=places, resident=resident)
            self._calibrations[source.digest] = found
        return self._calibrations[source.digest]

    def epochs(self, steps: int) -> float:
        """Of so many steps, on what is left after talks are held out."""
        return steps / -(-len(open_lessons(self.train, "train", self.lang).train.segments) // BATCH)

    def task(self, row: Row, source: compress.Source, policy: Policy) -> Task:
        return Task(
            name=row.name,
            parent=row.policy,
            method=row.method or "sft",
            model=str(source.folder),
            policy=policy.to_json(),
            store=str(self.work / "store"),
            spec=EvalSpec("embedded", "eval", self.lang, batch_size=48, max_new_tokens=64),
            train=self.train,
            train_split="train",
            out=str(self.work / "recovered" / f"{self.lang}-{row.name}"),
            work=str(self.work / "training" / f"{self.lang}-{row.name}"),
            train_batch=BATCH,
            threads=1,
            settings={"checkpoint_every": 50, **({"learning_rate": row.rate} if row.rate else {})},
            stage_epochs={stage: self.epochs(steps) for stage, steps in row.steps.items()},
        )


def _tell(entry: dict[str, Any]) -> None:
    if "held_out" in entry:
        print(f"  {entry['stage']} {entry['step']}/{entry['steps']}: held out {entry['held_out']:.4f}", flush=True)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def table(found: Mapping[tuple[str, str], dict[str, Any]], langs: Sequence[str]) -> str:
    """Markdown: a line a row, and how much of the lost COMET came back."""
    lines = ["| | method | " + " | ".join(f"bytes {x} | COMET {x} | given back {x}" for x in langs) + " |"]
    lines.append("|" + "---|" * (2 + 3 * len(langs)))
    for group in dict.fromkeys(row.group for row in ROWS if not row.tuned):
        for row in (row for row in ROWS if row.group == group):
            cells = [_cells(found, row, lang) for lang in langs]
            if any(cell.strip(" |") for cell in cells):
                lines.append(f"| {group} | {row.what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(found: Mapping[tuple[str, str], dict[str, Any]], row: Row, lang: str) -> str:
    mine, top = found.get((lang, row.name)), found.get((lang, "original"))
    if mine is None:
        return " | | "
    base, share = found.get((lang, {A: "drop25", B: "drop50", G: "grid2"}.get(row.group, ""))), ""
    if row.method and base and top and top["comet"] > base["comet"]:
        share = f"{(mine['comet'] - base['comet']) / (top['comet'] - base['comet']):.0%}"
    return f"{mine['bytes']:,} | {mine['comet']:.4f} | {share}"


def duel(found: Mapping[tuple[str, str], dict[str, Any]], langs: Sequence[str]) -> str:
    """Markdown of what is compared at equal bytes: COMET on the segments of a row; by how much ours at no more bytes is
    better, and p of the paired bootstrap: in each language, and over the segments of all."""
    heads = [*(f"bytes {x} | COMET {x} | ours more by {x} | p {x}" for x in langs), "ours more by, all | p, all"]
    lines = ["| at equal bytes | against | " + " | ".join(heads) + " |", "|---|---|" + "---|" * (4 * len(langs) + 2)]
    for row in (row for row in ROWS if row.tuned):
        held = [found.get((lang, row.name)) for lang in langs]
        rivals = [found.get((lang, row.rival)) for lang in langs]
        pairs = [(r["scores"], m["scores"]) if r and m else ([], []) for r, m in zip(rivals, held, strict=True)]
        cells = [
            f"{m['bytes']:,} | {mean(m['scores']):.4f} | {_apart(*pair)}" if m else " | | | "
            for m, pair in zip(held, pairs, strict=True)
        ]
        whole = all(pair[0] for pair in pairs)
        everything = [[x for pair in pairs for x in pair[side]] for side in (0, 1)] if whole else [[], []]
        if any(held):
            lines.append(f"| {row.what} | {row.rival} | " + " | ".join([*cells, _apart(*everything)]) + " |")
    return "\n".join(lines)


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not ours:
        return " | "
    test = paired(ours, theirs, resamples=10_000)
    return f"{test.difference:+.4f} | {test.p:.4f}"


def _together(row: dict[str, Any]) -> dict[str, Any]:
    """Eval and the unheard talks as one."""
    return row | {"scores": [*row["comet_segments"], *row.get("unheard_segments", [])]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/recovery"), help="rows, speech and store")
    parser.add_argument("--lang", default=",".join(LANGUAGES))
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--talks", type=int, default=230, help="to train on, 16 segments each")
    parser.add_argument("--unheard", type=int, default=192, help="further talks that rows at equal bytes are scored on")
    parser.add_argument("--confirm", type=int, default=0, help="fresh talks to compare at equal bytes on again")
    parser.add_argument("--out", type=Path, help="the table as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    PREPARED.MOST = 64  # both languages, with a teacher and without
    comet = Comet(str(embedded.COMET), threads=1)
    langs = given.lang.split(",")
    benches = {lang: Bench(given.work, given.talks, given.unheard, lang, comet.score) for lang in langs}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for row in ROWS if row.name in given.rows.split(",")):
        for lang, bench in benches.items():
            found[lang, row.name] = mine = _together(bench.row(row))
            told = f"{lang} {row.name}: {mine['bytes']:,} bytes, COMET {mine['comet']:.4f}, {mine['seconds']:.0f} s"
            print(told, flush=True)
            if given.out:
                write_atomically(given.out, f"{table(found, langs)}\n\n{duel(found, langs)}\n")
    told = f"{table(found, langs)}\n\n{duel(found, langs)}\n"
    if given.confirm:
        again = {}
        for row in (row for row in ROWS if row.tuned and (langs[0], row.name) in found):
            for lang, bench in benches.items():
                scores = bench.confirmed(row, given.confirm)
                again[lang, row.name] = found[lang, row.name] | {"scores": scores}
                print(f"{lang} {row.name}: COMET {mean(scores):.4f} on fresh talks", flush=True)
        told += f"\nOn {given.confirm} fresh talks:\n\n{duel(again, langs)}\n"
        if given.out:
            write_atomically(given.out, told)
    print(told)
    print(f"minutes of all rows: {sum(row['seconds'] for row in found.values()) / 60:.0f}")
    comet.close()


if __name__ == "__main__":
    main()
