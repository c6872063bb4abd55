"""`digits:2` against `grid` on weights as large as the real model's; `digits:2` rounds to an absolute step.

    python -m benchmarks.real_scale [--judge DATA] [--judge-segments 500] [--no-comet]

First on the embedded model, with its matrices multiplied by powers of two to about the scale of the real model's, and
norms, biases and following matrices divided by the same factors. The function stays bit-identical, which is checked.
Only convolutions and matrices after a GELU in the audio encoder keep their scale. Then on normal random matrices.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import embedded
from benchmarks.codecs import CodecBench, LevelResult, add_evaluation_options
from benchmarks.stand_in import MEAN_BITS, OTHERS_BITS, scales
from compress.codecs import decode, encode

LEVELS = [("digits:2", False), ("digits:3", False), ("nf4", False), ("grid@4", False), ("grid@4", True)]
LEVELS += [("grid@4:trellis", True), ("grid@3.1:trellis", True), ("grid@2.5:trellis", True)]
ENCODER, LM = "audio_tower.", "language_model.model."


class Scaling:
    """Power-of-two factors of tensors, chosen together so that the model's function does not change."""

    def __init__(self, tensors: dict[str, Tensor], scale_of: Callable[[float], float]) -> None:
        self.tensors, self.scale_of = tensors, scale_of
        self.factors: dict[str, float] = {}
        layers = {name.split(".layers.")[1].partition(".")[0] for name in tensors if name.startswith(LM + "layers.")}
        output_matrices = ("self_attn.o_proj", "mlp.down_proj")
        names = [f"{LM}layers.{i}.{m}.weight" for i in layers for m in output_matrices] + [f"{LM}embed_tokens.weight"]
        self.stream = _power(
            _mean([self._ratio(name) for name in names])
        )  # of the residual stream of the language model
        for layer in sorted(layers):
            self._language_layer(f"{LM}layers.{layer}.")
        encoder_layers = {
            name.split(".layers.")[1].partition(".")[0] for name in tensors if name.startswith(ENCODER + "layers.")
        }
        for layer in sorted(encoder_layers):
            self._encoder_layer(f"{ENCODER}layers.{layer}.")
        self._multiply(f"{LM}embed_tokens.weight", self.stream)
        self._scale_after_norm(f"{LM}norm", ["language_model.lm_head"])
        projector = "multi_modal_projector.linear"
        projection = _power(self._ratio(f"{projector}.weight") / self.stream)
        self._divide_norm(f"{ENCODER}layer_norm", projection)
        self._multiply(f"{projector}.weight", projection * self.stream)
        self._multiply(f"{projector}.bias", self.stream)

    def _ratio(self, name: str) -> float:
        """The real matrix's scale divided by this one's."""
        stack = "audio." if name.startswith(ENCODER) else "lm." if "layers" in name else ""
        kind = stack + name.removesuffix(".weight").rpartition(".")[2]
        return self.scale_of(MEAN_BITS.get(kind, OTHERS_BITS)) / float(
            self.tensors[name].float().square().mean().sqrt()
        )

    def _multiply(self, name: str, factor: float) -> None:
        if name in self.tensors:
            self.factors[name] = self.factors.get(name, 1.0) * factor

    def _scale_after_norm(self, norm: str, linears: list[str]) -> float:
        factor = _power(_mean([self._ratio(f"{name}.weight") for name in linears]))
        self._divide_norm(norm, factor)
        for name in linears:
            self._multiply(f"{name}.weight", factor)
        return factor

    def _divide_norm(self, norm: str, factor: float) -> None:
        self._multiply(f"{norm}.weight", 1 / factor)
        self._multiply(f"{norm}.bias", 1 / factor)

    def _pair(self, first: str, second: str, factor: float, stream: float) -> None:
        """Moves scale between two consecutive matrices; `factor` is the first one's up to now."""
        shared = _power(math.sqrt(self._ratio(f"{first}.weight") / factor * stream / self._ratio(f"{second}.weight")))
        self._multiply(f"{first}.weight", shared)
        self._multiply(f"{first}.bias", shared)
        self._multiply(f"{second}.weight", stream / shared)

    def _language_layer(self, at: str) -> None:
        heads = self._scale_after_norm(f"{at}input_layernorm", [f"{at}self_attn.{m}_proj" for m in "qkv"])
        self._pair(f"{at}self_attn.v_proj", f"{at}self_attn.o_proj", heads, self.stream)
        wide = self._scale_after_norm(f"{at}post_attention_layernorm", [f"{at}mlp.gate_proj", f"{at}mlp.up_proj"])
        self._pair(f"{at}mlp.up_proj", f"{at}mlp.down_proj", wide, self.stream)

    def _encoder_layer(self, at: str) -> None:
        heads = self._scale_after_norm(f"{at}self_attn_layer_norm", [f"{at}self_attn.{m}_proj" for m in "qkv"])
        self._pair(f"{at}self_attn.v_proj", f"{at}self_attn.out_proj", heads, 1.0)
        self._scale_after_norm(f"{at}final_layer_norm", [f"{at}fc1"])


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _power(value: float) -> float:
    return 2.0 ** round(math.log2(value))


def write_rescaled(model: Path, out: Path) -> None:
    """Copies a Qwen2-Audio folder of one shard, with matrices at the real model's scale and the same function."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, out)
    (shard,) = out.glob("*.safetensors")
    tensors = load_file(shard)
    scaling = Scaling(tensors, scales())
    save_file({n: t * scaling.factors.get(n, 1.0) for n, t in tensors.items()}, shard, {"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] *= scaling.stream**2  # it is added to the mean square of the stream
    (out / "config.json").write_text(json.dumps(config, indent=2))


def table(rows: list[LevelResult]) -> str:
    lines = ["| level | feedback | bits a weight | artifact bytes | KL | COMET |", "|" + "---|" * 6]
    for row in rows:
        comet = f"{row.comet:.4f}" if row.comet is not None else ""
        calibrated = "yes" if row.calibrated else "no"
        lines.append(f"| `{row.level}` | {calibrated} | {row.bits:.3f} | {row.nbytes:,} | {row.kl:.5f} | {comet} |")
    return "\n".join(lines)


def matrix_table() -> str:
    """`digits:2` and uncalibrated `grid` on normal random matrices, one scale for each kind of matrix.

    The error is that of the weights. The last column is the rate at which grid has the error of digits:2.
    """
    lines = [
        "| kind | `digits:2`, bits | error, dB | `grid@4`, bits | error, dB | `grid@4:trellis`, error, dB "
        "| bits of grid at digits:2's error |",
        "|" + "---|" * 7,
    ]
    scale_of = scales()
    generator = torch.Generator().manual_seed(0)
    for kind, bits in MEAN_BITS.items():
        weight = (torch.randn(512, 2048, generator=generator) * scale_of(bits)).to(torch.bfloat16)
        (bits_digits, error), (bits_grid, grid_error) = (
            _weight_error(weight, level) for level in ("digits:2", "grid@4")
        )
        trellis_error = _weight_error(weight, "grid@4:trellis")[1]
        low, high = 1.0, 6.0
        for _ in range(6):
            middle = round((low + high) / 2, 3)
            low, high = (middle, high) if _weight_error(weight, f"grid@{middle}")[1] > error else (low, middle)
        equal_bits = _weight_error(weight, f"grid@{high}")[0]
        digits, grid = f"{bits_digits:.3f} | {error:.2f}", f"{bits_grid:.3f} | {grid_error:.2f}"
        lines.append(f"| {kind} | {digits} | {grid} | {trellis_error:.2f} | {equal_bits:.2f} |")
    return "\n".join(lines)


def _weight_error(weight: Tensor, level: str) -> tuple[float, float]:
    """Bits a weight, and the squared error relative to the weights, dB."""
    encoded = encode(weight, level)
    original = weight.float()
    share = float((decode(encoded) - original).square().sum() / original.square().sum())
    return 8 * encoded.nbytes / weight.numel(), 10 * math.log10(share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        model = Path(work) / "model"
        write_rescaled(embedded.MODEL, model)
        scaled = CodecBench(model, options.judge, options.judge_segments, not options.no_comet, Path(work) / "store")
        original = CodecBench(embedded.MODEL, options.judge, options.judge_segments, False, Path(work) / "other")
        same = all(
            torch.equal(a.top_log_probs, b.top_log_probs)
            for a, b in zip(scaled.references, original.references, strict=True)
        )
        print(f"Bit-identical outputs to the embedded model's: {'yes' if same else 'NO'}")
        del original
        rows = [scaled.row(*level) for level in LEVELS] + [scaled.by_unit(rate, trellis=True) for rate in (4, 3.1)]
        if scaled.comet is not None:
            scaled.comet.close()
    print(table(rows))
    for row in rows[1:]:
        kl_ratio, bits_ratio = row.kl / rows[0].kl, row.bits / rows[0].bits
        print(f"{row.level}: {kl_ratio:.3f} of the KL of digits:2, {bits_ratio:.3f} of its bits")
    print("\n" + matrix_table())


if __name__ == "__main__":
    main()
