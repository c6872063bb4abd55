"""Every level on the embedded model: bits, entropy, damage, speed. One table and one picture.

    python -m benchmarks.codecs [--judge DATA] [--judge-segments 500] [--picture FILE.png] [--no-comet]

The whole model is encoded at one level. `grid` is measured without calibration, with error feedback calibrated on
dev, and with rates by unit (benchmarks.rates) from the KL that each unit alone causes on dev; each with and without a
trellis. COMET is measured on eval, KL to the original's outputs on eval or on --judge, in both languages. A small KL is
mostly made by a few tokens, and that of nf4 is half again as high on dev as on eval, so --judge takes more data:
`manifest:DIR/segments.csv`, with talks from `python -m search.recovery.speech --out DIR`. Bits are per weight
of the encoded matrices, with all side information.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

import embedded
from benchmarks.rates import by_unit
from compress.calibration.calibrate import calibrate
from compress.codecs import Encoded, codec, decode, encode, has_trellis, with_trellis
from compress.codecs.grid.grid import Grid
from compress.codecs.grid.rate import entropy
from compress.model.source import Source
from compress.policy.ledger import Ledger
from compress.policy.policy import Policy
from compress.policy.recipes import HALF, recipe
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, variant_key
from compress.resident import Resident
from evaluate.data.open import open_data
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.decoding.generate import translate
from evaluate.metrics.comet import Comet
from evaluate.metrics.divergence import ReferenceLogits, divergence, reference_logits

LANGUAGES = ("en-zh", "en-de")
PUBLISHED = ("int8", "nf4", "digits:3", "digits:2", "rtn:8:g32", "rtn:4:g32", "rtn:3:g32", "rtn:2:g32")
RATES = (6, 5, 4, 3.5, 3.1, 2.5, 2, 1.5, 1)
TRELLIS_RATES = (5, 4, 3.5, 3.1, 2.5, 2, 1.5, 1)
DATA_FREE_TRELLIS = (4, 3.1, 2)
MEANS, MEASURED = (4, 3.1, 2.5, 2, 1.5), (2.5, 3.25, 4)  # rates by unit; where each unit alone is measured for them
BY_UNIT = "by unit"
NEW_TOKENS = 60
ROUNDS = 5  # of decoding


@dataclass(frozen=True)
class LevelResult:
    level: str
    calibrated: bool
    bits: float  # a weight of the encoded matrices
    nbytes: int  # of the whole artifact
    entropy: float | None
    kl: float
    kls: tuple[float, ...]  # of each batch, a token
    comet: float | None
    seconds: float  # to encode the model


class CodecBench:
    """A model, its reference logits, and the KL and COMET of policies."""

    def __init__(self, model: Path, judge: str, segments: int, comet: bool, work: Path) -> None:
        self.source = Source.open(model)
        self.store = Store(work)
        self.resident = Resident(self.source, self.store)
        self.comet = Comet(str(embedded.COMET)) if comet else None
        self.comet_data: list[tuple[Any, Any]] = []
        split = "eval" if judge == "embedded" else "train"
        self.dev_references: list[ReferenceLogits] = []
        self.references: list[ReferenceLogits] = []
        for language in LANGUAGES:
            self.dev_references += self._reference_logits(open_data("embedded", "dev", language))
            self.references += self._reference_logits(open_data(judge, split, language).first(segments))
            data = open_data("embedded", "eval", language)
            self.comet_data.append((data, prepare(data, self.resident.processor, 24)))
        started = time.monotonic()
        inputs, positions = (
            [batch.inputs for batch in self.dev_references],
            [batch.positions for batch in self.dev_references],
        )
        self.calibration = calibrate(self.source, inputs, self.store, target_masks=positions, resident=self.resident)
        self.calibration_seconds = time.monotonic() - started
        self._damage: dict[str, dict[float, float]] = {}

    def _reference_logits(self, data: DataSet) -> list[ReferenceLogits]:
        """The original's distributions on its own translations."""
        batches = prepare(data, self.resident.processor, 24)
        outputs = translate(self.resident.model, self.resident.processor, batches, NEW_TOKENS)
        return reference_logits(self.resident.model, self.resident.processor, batches, outputs)

    def row(self, level: str, calibrated: bool) -> LevelResult:
        plain = recipe(f"uniform:{level}", self.source.structure, self.source.digest)
        return self._row(codec(level).level, replace(plain, calibration=self.calibration if calibrated else ""))

    def by_unit(self, rate: float, trellis: bool = False) -> LevelResult:
        """Calibrated `grid` at a mean rate; the rate of each unit depends on the KL that it alone causes on dev."""
        add = with_trellis if trellis else str
        units = self.source.structure.units
        rates = by_unit(self.damage(), {name: unit.weights for name, unit in units.items()}, rate)
        levels = {name: add(f"grid@{unit_rate:g}") for name, unit_rate in rates.items()}
        policy = Policy(model=self.source.digest, levels=levels, calibration=self.calibration)
        return self._row(f"{add(f'grid@{rate:g}')} {BY_UNIT}", policy)

    @property
    def tokens(self) -> list[int]:
        """Tokens in each batch that KL is measured on."""
        return [int(batch.positions.sum()) for batch in self.references]

    def damage(self) -> dict[str, dict[float, float]]:
        """KL on dev with each unit alone encoded, at the rates MEASURED."""
        half = recipe("fp16", self.source.structure, self.source.digest)
        for unit in self.source.structure.units:
            if unit not in self._damage:
                kls = {}
                for rate in MEASURED:
                    levels = {**half.levels, unit: f"grid@{rate:g}"}
                    self.resident.apply(replace(half, levels=levels, calibration=self.calibration))
                    kls[rate] = divergence(self.resident.model, self.dev_references)
                self._damage[unit] = kls
        return self._damage

    def _row(self, name: str, policy: Policy) -> LevelResult:
        started = time.monotonic()
        self.resident.apply(policy)
        seconds = time.monotonic() - started
        ledger = Ledger(self.source, self.store, sorted({*policy.levels.values(), HALF}), policy.calibration)
        units = [unit for unit in self.source.structure.units.values() if policy.levels[unit.name] != HALF]
        bits = 8 * sum(ledger.size(u.name, policy.levels[u.name]) for u in units) / sum(u.weights for u in units)
        kls = tuple(divergence(self.resident.model, [batch]) for batch in self.references)
        kl = sum(a * b for a, b in zip(kls, self.tokens, strict=True)) / sum(self.tokens)
        return LevelResult(
            name,
            bool(policy.calibration),
            bits,
            ledger.predict(policy),
            self._entropy(policy),
            kl,
            kls,
            self._comet(),
            seconds,
        )

    def _comet(self) -> float | None:
        if self.comet is None:
            return None
        scores = []
        for data, batches in self.comet_data:
            outputs = translate(self.resident.model, self.resident.processor, batches, NEW_TOKENS)
            sources = [segment.source for segment in data.segments]
            scores += self.comet.score(sources, outputs, [segment.reference for segment in data.segments])
        return sum(scores) / len(scores)

    def _entropy(self, policy: Policy) -> float | None:
        """Entropy of a grid policy's integers, bits a weight, with one distribution for each unit."""
        total, count = 0.0, 0
        for unit in policy.remaining_units(self.source.structure):
            grid = codec(policy.levels[unit.name])
            if not isinstance(grid, Grid):
                return None
            key = variant_key(self.source, unit, grid.level, EncodeOptions(calibration=policy.calibration))
            integers = grid.integers(self.store.get(key) or b"", unit.shapes)
            total += entropy(integers) * integers.size
            count += integers.size
        return total / count


Key = tuple[str, bool]  # a level, and whether it is calibrated


def speeds(keys: list[Key]) -> dict[Key, tuple[float, float]]:
    """Millions of weights per second of processor time, encoding and decoding one matrix of 1024 × 4096.

    Levels alternate, and the best of several rounds counts, so other load on the machine affects all of them alike.
    """
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(1024, 4096, generator=generator) * 0.02).to(torch.bfloat16)
    x = torch.randn(512, 4096, generator=generator)
    hessian = x.T @ x
    for level, calibrated in keys:  # first use loads libraries
        encode(weight[:, :64].contiguous(), level, hessian[:64, :64].contiguous() if calibrated else None)
    encoding: dict[Key, float] = {}
    decoding: dict[Key, float] = {}
    data = {}
    for key in keys:
        started = time.process_time()
        encoded = encode(weight, key[0], hessian if key[1] else None)
        encoding[key] = time.process_time() - started
        data[key] = encoded.to_bytes()
    for _ in range(ROUNDS):
        for key in keys:
            started = time.process_time()
            decode(Encoded.from_bytes(data[key]))
            decoding[key] = min(decoding.get(key, 1e9), time.process_time() - started)
    return {key: (weight.numel() / 1e6 / encoding[key], weight.numel() / 1e6 / decoding[key]) for key in keys}


def copy_speed() -> float:
    """Millions of float32 per second that memory copies: an upper bound for decoding."""
    value, best = torch.randn(1024, 4096), 1e9
    for _ in range(ROUNDS):
        started = time.process_time()
        value.clone()
        best = min(best, time.process_time() - started)
    return value.numel() / 1e6 / best


def table(rows: list[LevelResult], speed_of: dict[Key, tuple[float, float]]) -> str:
    lines = [
        "| level | feedback | bits a weight | entropy | artifact bytes | KL | COMET "
        "| encode, M/s | decode, M/s | of `digits:2` |",
        "|" + "---|" * 10,
    ]
    baseline = speed_of["digits:2", False][1]
    for row in rows:
        speed = speed_of.get((row.level, row.calibrated))
        entropy_text = f"{row.entropy:.3f}" if row.entropy is not None else ""
        comet = f"{row.comet:.4f}" if row.comet is not None else ""
        speeds_text = f"{speed[0]:.1f} | {speed[1]:.0f} | {speed[1] / baseline:.2f}" if speed else " | | "
        lines.append(
            f"| `{row.level}` | {'yes' if row.calibrated else 'no'} | {row.bits:.3f} | {entropy_text} | {row.nbytes:,} "
            f"| {row.kl:.5f} | {comet} | {speeds_text} |"
        )
    return "\n".join(lines)


def draw(rows: list[LevelResult], file: Path) -> None:
    """Plots KL against bits, one line for each codec."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[str, list[LevelResult]] = {}
    for row in rows:
        name = row.level.partition(":")[0].partition("@")[0]
        name += ", trellis" if has_trellis(row.level.removesuffix(f" {BY_UNIT}")) else ""
        name += f", rates {BY_UNIT}" if row.level.endswith(BY_UNIT) else ""
        lines.setdefault(name + (", error feedback" if row.calibrated else ""), []).append(row)
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, points in lines.items():
        points = sorted(points, key=lambda row: row.bits)
        axes.plot([p.bits for p in points], [max(p.kl, 1e-6) for p in points], marker="o", label=name)
    axes.set(xlabel="bits a weight, all side information counted", ylabel="KL to the original, nats a token")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def compare(first: LevelResult, second: LevelResult, tokens: list[int]) -> str:
    """Two KLs, and the p-value of the first being lower, by bootstrap over batches."""
    import numpy as np

    rng, weights = np.random.default_rng(0), np.array(tokens, float)
    differences = (np.array(second.kls) - np.array(first.kls)) * weights
    drawn = rng.integers(len(weights), size=(10_000, len(weights)))
    p_value = float((differences[drawn].sum(1) <= 0).mean())
    kls = f"{first.level} {first.kl:.5f} against {second.level} {second.kl:.5f}"
    return f"{kls}: p = {p_value:.4f}, {len(weights)} batches."


def below_grid_curve(rows: list[LevelResult]) -> list[str]:
    """Levels of other codecs with less KL than calibrated plain grid at the same bits (log KL interpolated)."""
    import numpy as np

    plain = [row for row in rows if row.calibrated and not row.level.endswith(BY_UNIT) and not has_trellis(row.level)]
    curve = sorted((row.bits, np.log(row.kl)) for row in plain)
    bits, damage = zip(*curve, strict=True)
    others = [row for row in rows if not row.level.startswith("grid") and row.bits <= max(bits)]
    return [row.level for row in others if np.log(row.kl) < np.interp(row.bits, bits, damage)]


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judge", default="embedded", help="data that KL is measured on (default embedded: its eval)")
    parser.add_argument("--judge-segments", type=int, default=500, help="segments of it in each language (default 500)")
    parser.add_argument("--no-comet", action="store_true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    parser.add_argument("--picture", type=Path, default=Path("benchmarks/pictures/codecs.png"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        bench = CodecBench(embedded.MODEL, options.judge, options.judge_segments, not options.no_comet, Path(work))
        levels = [(level, False) for level in PUBLISHED] + [(f"grid@{r}", c) for c in (False, True) for r in RATES]
        levels += [(f"grid@{r}:trellis", False) for r in DATA_FREE_TRELLIS]
        levels += [(f"grid@{r}:trellis", True) for r in TRELLIS_RATES]
        rows = [bench.row(level, calibrated) for level, calibrated in levels]
        rows += [bench.by_unit(r, trellis) for trellis in (False, True) for r in MEANS]
        if bench.comet is not None:
            bench.comet.close()
    timed: list[Key] = [(level, False) for level in (*PUBLISHED, "grid@4", "grid@2", "grid@4:trellis")]
    timed += [("grid@4", True), ("grid@2", True), ("grid@4:trellis", True), ("grid@2:trellis", True)]
    print(table(rows, speeds(timed)))
    print(f"\nMemory copies {copy_speed():.0f} million float32 per second for comparison.")
    below = below_grid_curve(rows)
    print(f"\nPoints of other codecs under calibrated plain grid's curve: {', '.join(below) or 'none'}.")
    other = next(row for row in rows if row.level == "nf4")
    for row in rows:
        if row.calibrated and row.level.startswith("grid@3.1"):
            print(compare(row, other, bench.tokens))
    print(f"Calibration {bench.calibration_seconds:.0f} s; in all {time.monotonic() - started:.0f} s on one core.")
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
