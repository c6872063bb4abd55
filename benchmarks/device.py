"""Each phase of a search of the real model, on the machine at hand: seconds, share of its limits, memory at the peak.

    python -m benchmarks.device                 on a GPU: full size, in at most eight minutes
    python -m benchmarks.device --layers 2      the real widths with two layers: what a machine without a GPU does

Needs neither Ray nor COMET nor a network: torch, transformers (4.57 or 5), and the small wheels that the codecs use
(numcodecs, pcodec). The model has random weights of the real one's scale; speech is noise of ACL 60/60's lengths,
already features; COMET is an untrained encoder of XLM-R-large's size. What is measured on a part is scaled up, and
marked (×).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import compress
from benchmarks import stand_in
from compress.calibration import calibrate as calibration
from compress.kernels.dispatch import describe
from compress.policy.recipes import original_policy
from compress.policy.variant import UnitEncoder
from evaluate.decoding import greedy
from evaluate.decoding.batches import Batch, pad, split_by_length
from evaluate.decoding.encoder_cache import EncoderCache
from evaluate.decoding.generate import translate
from evaluate.metrics.comet_server import Embedder
from evaluate.metrics.divergence import divergence, reference_logits
from evaluate.peak_memory import peaks, shapes

LEVELS = ("int8", "nf4", "digits:2", "grid@4:trellis", "grid@3:trellis", "grid@2:trellis", "grid@1.5:trellis")
UNITS = ("lm.0.attention", "lm.0.mlp", "audio.0.mlp")
SEGMENTS, PART, TOKENS, BATCH = 468, 32, 40, 32  # ACL 60/60 dev; of them, what KL and calibration take here
SECONDS = 7.3  # of a segment, on average
GENERATED = 64  # segments that `generate` translates, for the comparison
SWAPS = 10  # policies, each with every unit of UNITS changed
TRIALS, IN_FULL, OTHERS = 120, 30, 60  # of a default search; others: recipes and iterative pruning, in full
SENSITIVITIES = 330


@dataclass
class Row:
    """One line of the table. `limit` is the share of what the hardware could do, `whole` seconds in a real search."""

    phase: str
    seconds: float
    whole: float
    limit: str
    peak: float


class Words:
    """Stands in for a processor where only token ids are decoded."""

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: Any) -> list[str]:
        return [" ".join(map(str, row)) for row in rows]


class Bench:
    """The phases, in the order of a run. Rows are printed as they come."""

    def __init__(self, folder: Path, settings: Any, segments: int, tokens: int, seconds: float) -> None:
        self.folder, self.settings, self.segments, self.tokens = folder, settings, segments, tokens
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.part = min(PART, segments)
        self.rows: list[Row] = []
        self.until = time.monotonic() + seconds
        self.source: Any = None
        self.resident: Any = None
        self.store = compress.Store(str(folder / "store"))
        self.end = settings.text_config.eos_token_id or 7

    @contextmanager
    def measure(self, phase: str, scale: float = 1.0) -> Iterator[dict[str, float]]:
        """Times the block. It may put "bytes" or "operations" into what it is given, and "seconds" of its own."""
        if time.monotonic() > self.until:
            raise TimeoutError(phase)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        done: dict[str, float] = {}
        started = time.perf_counter()
        yield done
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = done.get("seconds", time.perf_counter() - started)
        limit = "-"
        if "bytes" in done:
            limit = f"{done['bytes'] / seconds / self.bandwidth:.0%} of bytes"
        elif "operations" in done:
            limit = f"{done['operations'] / seconds / self.rate:.0%} of operations"
        peak = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
        row = Row(phase, seconds, seconds * done.get("scale", scale), limit, peak / 1e9)
        self.rows.append(row)
        say(f"{row.phase:44} {row.seconds:8.2f} s  whole {row.whole:8.1f} s  {limit:22} peak {row.peak:5.1f} GB")

    def ceilings(self) -> None:
        """Bytes and operations a second that this machine copies and multiplies."""
        cuda = self.device.type == "cuda"
        dtype, n = (torch.bfloat16, 8192) if cuda else (torch.float32, 1024)
        a, b = (torch.randn(n, n, device=self.device, dtype=dtype) for _ in range(2))
        self.rate = 2 * n**3 / self._best(lambda: a @ b)
        source = torch.empty((1 << 31) if cuda else (1 << 27), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        self.bandwidth = 2 * source.numel() / self._best(lambda: target.copy_(source))
        say(f"{self.rate / 1e12:.1f} TFLOP/s in {dtype}, {self.bandwidth / 1e12:.2f} TB/s")
        say(f"kernels: {describe(self.device)}")

    def _best(self, work: Callable[[], object]) -> float:
        times = []
        for _ in range(4):
            started = time.perf_counter()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return min(times)

    def run(self) -> None:
        self.ceilings()
        self.load()
        self.batches = self.speech(self.segments)
        self.texts = [" ".join(["word"] * (self.tokens // 2))] * self.segments
        self.calibrate()
        self.encode()
        self.swap()
        self.divergence()
        self.translate()
        self.score()

    def load(self) -> None:
        with self.measure("load: read, hash, to the device") as done:
            self.source = compress.Source.open(self.folder / "model")
            done["hashed"] = len(self.source.digest)
            self.resident = compress.Resident(self.source, self.store, device=self.device)

    def speech(self, segments: int) -> list[Batch]:
        """Features of noise and the prompt around them, longest segments first."""
        generator = np.random.default_rng(0)
        audio, config = self.settings.audio_config, self.settings
        window = 2 * audio.max_source_positions
        seconds = np.clip(generator.gamma(2.2, SECONDS / 2.2, segments), 1.0, 29.0)
        frames = [max(8, int(each / 30 * window)) for each in seconds]
        features = torch.Generator().manual_seed(0)
        batches = []
        for indices in split_by_length(frames, BATCH):
            rows, mask = [], torch.zeros(len(indices), window, dtype=torch.long)
            for row, index in enumerate(indices):
                mask[row, : frames[index]] = 1
                heard = ((frames[index] - 1) // 2 + 1 - 2) // 2 + 1
                rows.append([5, *[config.audio_token_id] * heard, *range(6, 26)])
            ids, attention = pad(rows, self.end, "left")
            noise = torch.randn(len(indices), audio.num_mel_bins, window, generator=features) * mask[:, None]
            inputs = {"input_ids": ids, "attention_mask": attention, "input_features": noise}
            batches.append(Batch(indices, inputs | {"feature_attention_mask": mask}))
        return batches

    def calibrate(self) -> None:
        """Its passes grow with the segments, packing the statistics does not."""
        batch = next(b for b in self.batches[len(self.batches) // 2 :] if len(b.indices))
        batch = Batch(batch.indices[: self.part], {n: v[: self.part] for n, v in batch.inputs.items()})
        inputs, masks = with_completion(batch, self.tokens)
        passes = Stopwatch(self.device)
        with self.measure(f"calibrate on {len(batch.indices)} segments (×)") as done:
            with passes.around(calibration, "_gather"), passes.around(calibration, "output_importance"):
                self.digest = compress.calibrate(
                    self.source, [inputs], self.store, target_masks=[masks], resident=self.resident
                )
            # Scaled: only the passes take longer with more segments.
            total = time.perf_counter() - passes.began
            whole = passes.seconds * self.segments / len(batch.indices) + total - passes.seconds
            done["scale"] = whole / total
        say(f"    of it {passes.seconds:.1f} s of passes")

    def encode(self) -> None:
        options = compress.EncodeOptions(calibration=self.digest)
        weights = self.source.structure.parameters
        for name in UNITS:
            unit = self.source.structure.unit(name)
            with self.measure(f"encode {name} at {len(LEVELS)} levels (×)") as done:
                encoder = UnitEncoder(self.source, unit, self.store, options, str(self.device))
                for level in LEVELS:
                    encoder.build(level)
                done["scale"] = weights / unit.weights
        # Each unit alone stands for the whole: the MLPs are three quarters of the model, the rest is like attention.
        encoding = [row for row in self.rows if row.phase.startswith("encode")]
        self.encoding = (0.75 * encoding[1].whole + 0.25 * encoding[0].whole) * 10 / len(LEVELS)
        for row in encoding:
            row.whole = 0.0
        self.rows.append(Row("encode everything at ten levels (×)", 0.0, self.encoding, "-", 0.0))

    def policy(self, step: int) -> compress.Policy:
        original = original_policy(self.source)
        levels = {**original.levels, **{unit: LEVELS[(step + place) % len(LEVELS)] for place, unit in enumerate(UNITS)}}
        return compress.Policy(self.source.digest, levels, calibration=self.digest)

    def swap(self) -> None:
        weights = sum(self.source.structure.unit(name).weights for name in UNITS)
        with self.measure(f"swap {SWAPS * len(UNITS)} units") as done:
            for step in range(SWAPS):
                self.resident.apply(self.policy(step))
            done["bytes"] = SWAPS * weights * (2 + 2 + 2)  # integers in, weights out, read once
        half = self.source.structure.parameters / 2  # what changes between two candidates
        self.swapping = self.rows[-1].seconds * half / (SWAPS * weights)

    def divergence(self) -> None:
        batches = self.batches[-1:] if len(self.batches[-1].indices) >= self.part else self.batches[-2:-1]
        batches = [Batch(batches[0].indices[: self.part], {n: v[: self.part] for n, v in batches[0].inputs.items()})]
        words = WordsToIds(self.tokens, self.end)
        self.resident.restore()
        with self.measure(f"original's distributions on {self.part} segments"):
            references = reference_logits(self.resident.model, words, batches, self.texts)
        self.resident.apply(self.policy(1))
        with self.measure(f"divergence on {self.part} segments"):
            kl = divergence(self.resident.model, references, EncoderCache(2_000_000_000), "the original's")
        say(f"    KL {kl:.3f}")

    def translate(self) -> None:
        """`generate` on some segments and ours on all; every translation has all its tokens."""
        model = self.resident.model
        model.generation_config.eos_token_id = (
            self.settings.text_config.vocab_size + 1
        )  # never drawn: all rows are full
        some = self.batches[len(self.batches) // 2 :][: max(1, GENERATED // BATCH)]
        count = sum(len(batch.indices) for batch in some)
        results = {}
        for name in ("generate", "ours"):
            with self.measure(f"translate {count} segments, {name}", self.segments / count):
                results[name] = translate(model, Words(), some, self.tokens, use_generate=name == "generate")
        same = sum(a == b for a, b in zip(*results.values(), strict=True))
        say(f"    {same} of {count} translations are equal ({model.dtype})")
        weights = sum(p.numel() for p in model.get_decoder().parameters()) * model.dtype.itemsize
        with self.measure(f"translate {self.segments} segments of {self.tokens} tokens, ours") as done:
            translate(model, Words(), self.batches, self.tokens, use_generate=False)
            steps = -(-self.segments // greedy.slots_on(self.device)) * self.tokens
            done["bytes"] = steps * weights

    def score(self) -> None:
        self.resident = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        config = transformers.XLMRobertaConfig(
            vocab_size=250002 if self.device.type == "cuda" else 1000,
            hidden_size=1024 if self.device.type == "cuda" else 64,
            num_hidden_layers=24 if self.device.type == "cuda" else 2,
            num_attention_heads=16,
            intermediate_size=4096 if self.device.type == "cuda" else 128,
            max_position_embeddings=514,
        )
        embedder = Embedder(UntrainedComet(config), 64, int(self.device.type == "cuda"))
        texts = [f"{index} " + "w" * (3 * self.tokens) for index in range(self.segments)]
        sample = [{"src": "s" * 120, "mt": text, "ref": "r" * 120} for text in texts]
        embedder.predict(sample[:8])  # sources and references are embedded once a run
        with self.measure(f"score {self.segments} segments"):
            embedder.predict(sample)

    def whole(self) -> list[tuple[str, float]]:
        """What a default search adds up to, in seconds."""
        load, calibrate = self.row("load"), self.row("calibrate")
        score = self.row("score").seconds
        in_full = self.row(f"translate {self.segments} segments of").seconds + score
        kl = self.row("divergence").seconds
        pruned = self.swapping + kl
        after_kl = TRIALS - IN_FULL
        return [
            ("load", load.seconds),
            ("calibrate", calibrate.whole),
            ("encode", self.encoding),
            (f"{SENSITIVITIES} sensitivities", SENSITIVITIES * kl),
            (f"{OTHERS} baselines in full", OTHERS * in_full),
            (f"{after_kl} candidates pruned by their divergence, {pruned:.1f} s each", after_kl * pruned),
            (f"{IN_FULL} candidates in full, {pruned + in_full:.1f} s each", IN_FULL * (pruned + in_full)),
        ]

    def row(self, phase: str) -> Row:
        return next(row for row in self.rows if row.phase.startswith(phase))


class Stopwatch:
    """Adds up the time that some functions of a module take."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self.began = device, 0.0, time.perf_counter()

    @contextmanager
    def around(self, module: Any, name: str) -> Iterator[None]:
        original = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                self.seconds += time.perf_counter() - started

        setattr(module, name, timed)
        try:
            yield
        finally:
            setattr(module, name, original)


class WordsToIds:
    """Stands in for a processor where translations are turned into token ids: each has as many as wanted."""

    def __init__(self, tokens: int, end: int) -> None:
        self.ids, self.eos_token_id, self.pad_token_id = list(range(30, 30 + tokens - 1)), end, end

    def __call__(self, _: str) -> Any:
        return argparse.Namespace(input_ids=self.ids)


class UntrainedComet(torch.nn.Module):
    """The parts of comet's RegressionMetric that Embedder uses, untrained."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.encoder = UntrainedEncoder(config)
        self.estimator = torch.nn.Linear(4 * config.hidden_size, 1)

    @property
    def device(self) -> torch.device:
        return self.estimator.weight.device

    def get_sentence_embedding(self, ids: Any, mask: Any) -> Any:
        return self.encoder(ids, mask)["all_layers"][-1].mean(1)

    def estimate(self, source: Any, hypothesis: Any, reference: Any) -> Any:
        joined = torch.cat([hypothesis, reference, hypothesis * source, hypothesis * reference], dim=1)
        return argparse.Namespace(score=self.estimator(joined)[:, 0])


class UntrainedEncoder(torch.nn.Module):
    """An XLM-R, and a tokenizer that takes four letters a token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = transformers.XLMRobertaModel(config)
        self.tokenizer = argparse.Namespace(pad_token_id=1)

    def prepare_sample(self, texts: Sequence[str]) -> dict[str, Any]:
        rows = [[5 + sum(map(ord, text[at : at + 4])) % 900 for at in range(0, len(text), 4)] for text in texts]
        ids, mask = pad(rows, 1)
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, ids: Any, mask: Any) -> dict[str, Any]:
        return {"all_layers": [self.model(ids, attention_mask=mask).last_hidden_state]}


def with_completion(batch: Batch, tokens: int) -> tuple[dict[str, Any], torch.Tensor]:
    """The batch with so many tokens behind each prompt, and the positions that predict them."""
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    added = torch.arange(30, 30 + tokens).expand(len(ids), tokens)
    inputs = {**batch.inputs, "input_ids": torch.cat([ids, added], 1)}
    inputs["attention_mask"] = torch.cat([mask, torch.ones_like(added)], 1)
    positions = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    positions[:, ids.shape[1] - 1 : -1] = True
    return inputs, positions


def say(text: str) -> None:
    print(text, flush=True)


def table(bench: Bench) -> str:
    lines = ["| phase | seconds | in a whole search | share of the limit | peak, GB |", "|---|---|---|---|---|"]
    for row in bench.rows:
        whole = f"{row.whole:.0f}" if row.whole else ""
        seconds = f"{row.seconds:.2f}" if row.seconds else ""
        lines.append(f"| {row.phase} | {seconds} | {whole} | {row.limit} | {row.peak:.1f} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--layers", type=int, help="of encoder and language model (default: 32 on a GPU, else 2)")
    parser.add_argument("--segments", type=int, default=SEGMENTS)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each translation")
    parser.add_argument("--folder", type=Path, help="where the model is made, or lies from last time (22 GB)")
    parser.add_argument("--seconds", type=float, default=480, help="phases that would begin later are left out")
    parser.add_argument("--config", type=Path, help="a config.json in place of the real model's")
    options = parser.parse_args(arguments)
    layers = options.layers or (32 if torch.cuda.is_available() else 2)
    settings = stand_in.config(layers)
    if options.config:
        settings = transformers.Qwen2AudioConfig.from_dict(json.loads(options.config.read_text()))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="device-"))
    say(f"torch {torch.__version__}, transformers {transformers.__version__}, {device_name()}, {layers} layers")
    started = time.perf_counter()
    if not (folder / "model").exists():
        stand_in.make(folder / "model", None, lambda _: None, settings)
        say(f"the model was made in {time.perf_counter() - started:.0f} s")
    bench = Bench(folder, settings, options.segments, options.tokens, options.seconds)
    try:
        bench.run()
    except TimeoutError as late:
        say(f"no time was left for {late}")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    say("\n" + table(bench))
    if bench.rows and bench.rows[-1].phase.startswith("score"):
        say("\nA default search: " + "; ".join(f"{name} {seconds:.0f} s" for name, seconds in bench.whole()))
        say(f"together {sum(seconds for _, seconds in bench.whole()) / 60:.1f} minutes")
    shape = shapes(settings, bench.source.structure, 2)
    gpu = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 80e9
    planned = ", ".join(f"{phase} {size / 1e9:.1f}" for phase, size in peaks(shape, BATCH, options.tokens, gpu).items())
    say(f"planned peaks, GB: {planned}")
    return 0


def device_name() -> str:
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


if __name__ == "__main__":
    torch.set_flush_denormal(
        True
    )  # of the whole process: gradients of an untrained model vanish, such numbers are slow
    sys.exit(main(sys.argv[1:]))
