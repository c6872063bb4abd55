"""`digits:2` keeps two decimal digits, so what it costs and damages depends on how large weights are. At real scale:

    python -m benchmarks.real_scale [--judge DATA] [--judge-segments 500] [--no-comet]

First the embedded model with its matrices multiplied by powers of two, as near to the sizes of the real Qwen2-Audio's
as can be, and with norms, biases and the matrices behind them divided by the same: the function is the same to the
last bit, which is checked. Only convolutions and what follows a GELU in the audio tower keep the size they have. Then
single matrices of normal draws.
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
from benchmarks.codecs import Bench, Row, judging
from benchmarks.stand_in import MEAN_BITS, OTHERS_BITS, scales
from compress.codecs import decode, encode

LEVELS = [("digits:2", False), ("digits:3", False), ("nf4", False), ("grid@4", False), ("grid@4", True)]
LEVELS += [("grid@4:trellis", True), ("grid@3.1:trellis", True), ("grid@2.5:trellis", True)]
TOWER, LM = "audio_tower.", "language_model.model."


class Scaling:
    """A power of two for each tensor that is multiplied; all chosen together leave the function as it is."""

    def __init__(self, tensors: dict[str, Tensor], scale_of: Callable[[float], float]) -> None:
        self.tensors, self.scale_of = tensors, scale_of
        self.factors: dict[str, float] = {}
        layers = {name.split(".layers.")[1].partition(".")[0] for name in tensors if name.startswith(LM + "layers.")}
        behind = ("self_attn.o_proj", "mlp.down_proj")
        names = [f"{LM}layers.{i}.{m}.weight" for i in layers for m in behind] + [f"{LM}embed_tokens.weight"]
        self.stream = _power(_mean([self.wish(name) for name in names]))  # of the residual stream of the language model
        for layer in sorted(layers):
            self._language_layer(f"{LM}layers.{layer}.")
        towers = {name.split(".layers.")[1].partition(".")[0] for name in tensors if name.startswith(TOWER + "layers.")}
        for layer in sorted(towers):
            self._tower_layer(f"{TOWER}layers.{layer}.")
        self.take(f"{LM}embed_tokens.weight", self.stream)
        self._behind_norm(f"{LM}norm", ["language_model.lm_head"])
        heard = "multi_modal_projector.linear"
        inwards = _power(self.wish(f"{heard}.weight") / self.stream)
        self._divide_norm(f"{TOWER}layer_norm", inwards)
        self.take(f"{heard}.weight", inwards * self.stream)
        self.take(f"{heard}.bias", self.stream)

    def wish(self, name: str) -> float:
        """By how much a matrix is smaller than the real one's."""
        stack = "audio." if name.startswith(TOWER) else "lm." if "layers" in name else ""
        kind = stack + name.removesuffix(".weight").rpartition(".")[2]
        return self.scale_of(MEAN_BITS.get(kind, OTHERS_BITS)) / float(
            self.tensors[name].float().square().mean().sqrt()
        )

    def take(self, name: str, factor: float) -> None:
        if name in self.tensors:
            self.factors[name] = self.factors.get(name, 1.0) * factor

    def _behind_norm(self, norm: str, linears: list[str]) -> float:
        factor = _power(_mean([self.wish(f"{name}.weight") for name in linears]))
        self._divide_norm(norm, factor)
        for name in linears:
            self.take(f"{name}.weight", factor)
        return factor

    def _divide_norm(self, norm: str, factor: float) -> None:
        self.take(f"{norm}.weight", 1 / factor)
        self.take(f"{norm}.bias", 1 / factor)

    def _pair(self, first: str, second: str, now: float, stream: float) -> None:
        """What the first of two matrices gains the second loses; `now` is what the first has been given."""
        shared = _power(math.sqrt(self.wish(f"{first}.weight") / now * stream / self.wish(f"{second}.weight")))
        self.take(f"{first}.weight", shared)
        self.take(f"{first}.bias", shared)
        self.take(f"{second}.weight", stream / shared)

    def _language_layer(self, at: str) -> None:
        heads = self._behind_norm(f"{at}input_layernorm", [f"{at}self_attn.{m}_proj" for m in "qkv"])
        self._pair(f"{at}self_attn.v_proj", f"{at}self_attn.o_proj", heads, self.stream)
        wide = self._behind_norm(f"{at}post_attention_layernorm", [f"{at}mlp.gate_proj", f"{at}mlp.up_proj"])
        self._pair(f"{at}mlp.up_proj", f"{at}mlp.down_proj", wide, self.stream)

    def _tower_layer(self, at: str) -> None:
        heads = self._behind_norm(f"{at}self_attn_layer_norm", [f"{at}self_attn.{m}_proj" for m in "qkv"])
        self._pair(f"{at}self_attn.v_proj", f"{at}self_attn.out_proj", heads, 1.0)
        self._behind_norm(f"{at}final_layer_norm", [f"{at}fc1"])


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _power(value: float) -> float:
    return 2.0 ** round(math.log2(value))


def rescaled(model: Path, out: Path) -> None:
    """A copy of a Qwen2-Audio folder of one shard, with matrices of the real one's size and the same function."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, out)
    (shard,) = out.glob("*.safetensors")
    tensors = load_file(shard)
    scaling = Scaling(tensors, scales())
    save_file({n: t * scaling.factors.get(n, 1.0) for n, t in tensors.items()}, shard, {"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] *= scaling.stream**2  # beside the mean square of the stream
    (out / "config.json").write_text(json.dumps(config, indent=2))


def table(rows: list[Row]) -> str:
    lines = ["| level | feedback | bits a weight | artifact bytes | KL | COMET |", "|" + "---|" * 6]
    for row in rows:
        judged = f"{row.comet:.4f}" if row.comet is not None else ""
        fed = "yes" if row.calibrated else "no"
        lines.append(f"| `{row.level}` | {fed} | {row.bits:.3f} | {row.nbytes:,} | {row.kl:.5f} | {judged} |")
    return "\n".join(lines)


def draws() -> str:
    """`digits:2` on normal draws, one scale for each kind of matrix, beside `grid` without calibration.

    The damage is the error of the weights. The last column is the rate at which grid has the error of digits:2.
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
        (cost, error), (ours, our_error) = (_weight_error(weight, level) for level in ("digits:2", "grid@4"))
        coded = _weight_error(weight, "grid@4:trellis")[1]
        low, high = 1.0, 6.0
        for _ in range(6):
            middle = round((low + high) / 2, 3)
            low, high = (middle, high) if _weight_error(weight, f"grid@{middle}")[1] > error else (low, middle)
        same = _weight_error(weight, f"grid@{high}")[0]
        lines.append(f"| {kind} | {cost:.3f} | {error:.2f} | {ours:.3f} | {our_error:.2f} | {coded:.2f} | {same:.2f} |")
    return "\n".join(lines)


def _weight_error(weight: Tensor, level: str) -> tuple[float, float]:
    """Bits a weight, and the squared error relative to the weights, dB."""
    encoded = encode(weight, level)
    wanted = weight.float()
    share = float((decode(encoded) - wanted).square().sum() / wanted.square().sum())
    return 8 * encoded.nbytes / weight.numel(), 10 * math.log10(share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    judging(parser)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        model = Path(work) / "model"
        rescaled(embedded.MODEL, model)
        ours = Bench(model, given.judge, given.judge_segments, not given.no_comet, Path(work) / "store")
        theirs = Bench(embedded.MODEL, given.judge, given.judge_segments, False, Path(work) / "other")
        same = all(
            torch.equal(a.top_log_probs, b.top_log_probs) for a, b in zip(ours.taught, theirs.taught, strict=True)
        )
        print(
            f"The same function as the embedded model's, to the last bit of what is judged: {'yes' if same else 'NO'}"
        )
        del theirs
        rows = [ours.row(*level) for level in LEVELS] + [ours.by_unit(rate, trellis=True) for rate in (4, 3.1)]
        if ours.comet is not None:
            ours.comet.close()
    print(table(rows))
    for row in rows[1:]:
        of_kl, of_bits = row.kl / rows[0].kl, row.bits / rows[0].bits
        print(f"{row.level}: {of_kl:.3f} of the KL of digits:2, {of_bits:.3f} of its bits")
    print("\n" + draws())


if __name__ == "__main__":
    main()
