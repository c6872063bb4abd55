"""Cost of an evaluation with and without caches, COMET against `predict`, batch sizes, correlation of KL and COMET.

python -m benchmarks.evaluate [caches] [anywhere] [comet] [batches] [divergence]

Processor seconds of this process and the COMET process, one thread each, so other load on the machine does not count.
What is compared alternates from candidate to candidate.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import psutil
import torch
from scipy.stats import spearmanr

import compress
import embedded
from compress.policy.ledger import Ledger
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.decoding.cleanup import clean
from evaluate.decoding.encoder_cache import EncoderCache, encoder_key
from evaluate.decoding.generate import translate
from evaluate.metrics.comet import Comet
from evaluate.metrics.divergence import divergence, reference_logits

LANG, LONGEST = "en-zh", 64
SECTIONS = ("caches", "anywhere", "comet", "batches", "divergence")


class EvaluationBench:
    """The embedded model, its speech, and a store, for all sections."""

    def __init__(self, folder: Path, segments: int, candidates: int, policies: int) -> None:
        self.source = compress.Source.open(embedded.MODEL)
        self.store = compress.Store(folder)
        self.resident = compress.Resident(self.source, self.store)
        self.data: DataSet = open_data("embedded", "dev", LANG).first(segments)
        self.size, self.candidates, self.policies = segments, candidates, policies

    def prepare(self, size: int | None = None) -> Any:
        return prepare(self.data, self.resident.processor, size or self.size)

    def neighbours(self, count: int, where: str) -> list[compress.Policy]:
        """Policies that each differ in three units from one at 3 bits: units anywhere, or not of the audio encoder."""
        generator = random.Random(0)
        units = [unit for unit in self.source.structure.units if where == "anywhere" or not unit.startswith("audio.")]
        policies = []
        for _ in range(count):
            levels = dict.fromkeys(self.source.structure.units, "grid@3")
            for unit in generator.sample(units, 3):
                levels[unit] = generator.choice(["grid@2", "grid@2.5", "grid@3.5", "grid@4"])
            policies.append(compress.Policy(self.source.digest, levels))
        return policies


class Stopwatch:
    """Processor seconds by name, of this process and of COMET's."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def measure(self, name: str, work: Callable[..., Any], *args: Any, comet: Comet | None = None) -> Any:
        begin = time.process_time() + child_seconds(comet)
        result = work(*args)
        self.spent[name] += time.process_time() + child_seconds(comet) - begin
        return result


def child_seconds(comet: Comet | None) -> float:
    if comet is None or comet.pid is None:
        return 0.0
    times = psutil.Process(comet.pid).cpu_times()
    return float(times.user + times.system)


def caches(bench: EvaluationBench, where: str) -> None:
    """Evaluates every candidate without any cache, with each cache added, and with all."""
    policies = bench.neighbours(bench.candidates, where)
    data, clock = bench.data, Stopwatch()
    predicting = Comet(str(embedded.COMET), threads=1, reuse=False)
    embedding, keeping = (Comet(str(embedded.COMET), threads=1) for _ in range(2))
    cache = EncoderCache(1 << 30)
    batches = clock.measure("prepared", bench.prepare)
    worst, worst_mean, same, exact = 0.0, 0.0, True, True
    for policy in policies:
        bench.resident.apply(policy)
        model, processor, key = bench.resident.model, bench.resident.processor, encoder_key(policy)
        fresh = clock.measure("prepare", bench.prepare)
        plain = clock.measure("plain", translate, model, processor, fresh, LONGEST)
        cached = clock.measure("encoder", translate, model, processor, batches, LONGEST, None, cache, key)
        same = same and plain == cached
        texts = [clean(text) for text in plain]
        inputs = (data.sources, texts, data.references)
        slow = clock.measure("predict", predicting.score, *inputs, comet=predicting)
        embedding.forget()
        recomputed = clock.measure("embed", embedding.score, *inputs, comet=embedding)
        fast = clock.measure("keep", keeping.score, *inputs, comet=keeping)
        worst = max(worst, *(abs(a - b) for a, b in zip(slow, fast, strict=True)))
        worst_mean = max(worst_mean, abs(mean(slow) - mean(fast)))
        exact = exact and recomputed == fast
    for comet in (predicting, embedding, keeping):
        comet.close()
    spent = {name: seconds / len(policies) for name, seconds in clock.spent.items()}
    uncached = spent["prepare"] + spent["plain"] + spent["predict"]
    steps = [
        ("no cache", uncached),
        ("+ prepared speech", spent["prepared"] + spent["plain"] + spent["predict"]),
        ("+ encoder outputs", spent["prepared"] + spent["encoder"] + spent["predict"]),
        ("+ COMET embeddings", spent["prepared"] + spent["encoder"] + spent["embed"]),
        ("+ score cache", spent["prepared"] + spent["encoder"] + spent["keep"]),
    ]
    print(f"{len(policies)} candidates that differ in three units ({where}), {len(data.segments)} segments.\n")
    print("| cached | seconds a candidate | times faster |\n|---|---|---|")
    for name, seconds in steps:
        print(f"| {name} | {seconds:.3f} | {uncached / seconds:.2f} |")
    print(
        f"\nTranslations {'the same' if same else 'NOT THE SAME'} in all {len(policies)} candidates. COMET of every"
        f" segment the same to the last bit with and without the score cache: {'yes' if exact else 'NO'}; from"
        f" `predict` a segment differs by at most {worst:.1e}, the mean by {worst_mean:.1e}. COMET alone:"
        f" {spent['predict']:.3f} s with `predict`,"
        f" {spent['embed']:.3f} s with embeddings kept ({spent['predict'] / spent['embed']:.1f}×),"
        f" {spent['keep']:.3f} s with the score cache too ({spent['predict'] / spent['keep']:.1f}×). Encoder"
        f" cache: {cache.hits} hits, {cache.misses} misses, {cache.nbytes:,} bytes.\n"
    )


def comet_alone() -> None:
    """All of dev, with new hypotheses each time, so only the embeddings of sources and references are reused."""
    data = open_data("embedded", "dev", LANG)
    clock, generator = Stopwatch(), random.Random(0)
    predicting, embedding = Comet(str(embedded.COMET), threads=1, reuse=False), Comet(str(embedded.COMET), threads=1)
    worst = 0.0
    for turn in range(6):
        others = [generator.choice(data.references) for _ in data.references]
        texts = [a[: generator.randint(3, len(a))] + b[:6] for a, b in zip(data.references, others, strict=True)]
        inputs = (data.sources, texts, data.references)
        if not turn:  # sources and references are embedded, and both processes are warm
            predicting.score(*inputs)
            embedding.score(*inputs)
            continue
        slow = clock.measure("predict", predicting.score, *inputs, comet=predicting)
        fast = clock.measure("embed", embedding.score, *inputs, comet=embedding)
        worst = max(worst, *(abs(a - b) for a, b in zip(slow, fast, strict=True)))
    predicting.close()
    embedding.close()
    ratio = clock.spent["predict"] / clock.spent["embed"]
    print(
        f"COMET alone, {len(data.segments)} segments, every hypothesis new, five times: `predict`"
        f" {clock.spent['predict'] / 5:.3f} s, with sources and references embedded once"
        f" {clock.spent['embed'] / 5:.3f} s, {ratio:.1f}×; largest difference of a segment {worst:.1e}.\n"
    )


def batch_sizes(bench: EvaluationBench) -> None:
    """Seconds an utterance, translating only."""
    bench.resident.restore()
    clock = Stopwatch()
    sizes = (1, 8, 32)
    prepared = {size: bench.prepare(size) for size in sizes}
    translations = {}
    for size in sizes:
        work = prepared[size]
        translations[size] = clock.measure(
            str(size), translate, bench.resident.model, bench.resident.processor, work, LONGEST
        )
    same = all(translations[size] == translations[1] for size in sizes)
    print("| batch | seconds an utterance |\n|---|---|")
    for size in sizes:
        print(f"| {size} | {clock.spent[str(size)] / len(bench.data.segments):.4f} |")
    print(f"\nThe translations are {'the same' if same else 'NOT the same'} at every batch size.\n")


def random_policies(bench: EvaluationBench) -> list[tuple[str, compress.Policy]]:
    """Policies of many sizes and kinds: uniform, mixed at random around a rate, with layers dropped."""
    generator = random.Random(1)
    units, digest = list(bench.source.structure.units), bench.source.digest
    uniform = [
        "nf4",
        "int8",
        "digits:2",
        *(f"grid@{rate}" for rate in (1.5, 1.75, 2, 2.25, 2.5, 3, 4)),
    ]
    policies = [("uniform", compress.Policy(digest, dict.fromkeys(units, level))) for level in uniform]
    grid_levels = [f"grid@{rate}" for rate in (1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4)]
    while len(policies) < bench.policies:
        middle, spread = generator.randrange(2, 8), generator.choice([1, 2, 4])
        near = grid_levels[max(0, middle - spread) : middle + spread + 1]
        policy = compress.Policy(digest, {unit: generator.choice(near) for unit in units})
        kind = "mixed"
        if generator.random() < 0.4:
            layers = [layer.name for layer in bench.source.structure.layers if layer.index not in (0,)]
            kind, policy = "dropped", replace(policy, dropped=tuple(generator.sample(layers, generator.randint(1, 2))))
        policies.append((kind, policy))
    return policies


def rank_correlation(bench: EvaluationBench) -> None:
    """Rank correlation of KL and COMET, over all policies and within bands of size."""
    batches, cache = bench.prepare(), EncoderCache(1 << 28)
    resident = bench.resident
    resident.restore()
    original = translate(resident.model, resident.processor, batches, LONGEST)
    few = prepare(bench.data.first(16), resident.processor, 16)
    references = reference_logits(resident.model, resident.processor, batches, original)
    references_few = reference_logits(resident.model, resident.processor, few, original)
    comet = Comet(str(embedded.COMET), threads=1)
    rows, clock = [], Stopwatch()
    for kind, policy in random_policies(bench):
        resident.apply(policy)
        model, key = resident.model, encoder_key(policy)
        kl = clock.measure("kl", divergence, model, references, cache, key)
        kl_few = divergence(model, references_few)
        texts = clock.measure("comet", translate, model, resident.processor, batches, LONGEST, None, cache, key)
        score = mean(comet.score(bench.data.sources, [clean(text) for text in texts], bench.data.references))
        size = Ledger(bench.source, bench.store, sorted(set(policy.levels.values()))).predict(policy)
        rows.append((size, kl, kl_few, score, kind))
    comet.close()
    rows.sort()
    count = len(bench.data.segments)
    print(f"{len(rows)} policies, KL and COMET on the same {count} segments, Spearman of −KL and COMET.\n")
    print(f"| policies | bytes | COMET | KL on {count} segments | KL on 16 segments |\n|---|---|---|---|---|")
    bands = [rows[len(rows) * n // 4 : len(rows) * (n + 1) // 4] for n in range(4)]
    named = [("all", rows), *((f"quarter {n} by size", band) for n, band in enumerate(bands, start=1))]
    named += [(kind, [row for row in rows if row[4] == kind]) for kind in ("uniform", "mixed", "dropped")]
    for name, part in named:
        scores = [row[3] for row in part]
        print(
            f"| {name} ({len(part)}) | {part[0][0]:,} to {part[-1][0]:,} | {min(scores):.3f} to {max(scores):.3f} |"
            f" {rank(part, 1):.2f} | {rank(part, 2):.2f} |"
        )
    ratio = clock.spent["comet"] / clock.spent["kl"]
    print(f"\nTranslating with all caches took {ratio:.1f} times as long as the KL of the same segments.\n")


def rank(rows: Sequence[tuple[Any, ...]], column: int) -> float:
    return float(spearmanr([-row[column] for row in rows], [row[3] for row in rows]).statistic)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help=f"default: all of {', '.join(SECTIONS)}")
    parser.add_argument("--segments", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=30)
    parser.add_argument("--policies", type=int, default=64)
    parser.add_argument("--store", type=Path, help="keep variants here between runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        bench = EvaluationBench(options.store or Path(work), options.segments, options.candidates, options.policies)
        sections = options.sections or SECTIONS
        if "caches" in sections:
            caches(bench, "the language model and the projector")
        if "anywhere" in sections:
            caches(bench, "anywhere")
        if "comet" in sections:
            comet_alone()
        if "batches" in sections:
            batch_sizes(bench)
        if "divergence" in sections:
            rank_correlation(bench)


if __name__ == "__main__":
    main()
