"""Simple damage to a model: rounding, noise, dropped layers. COMET's stand-in learns from what comes out."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from transformers import Qwen2AudioForConditionalGeneration

GROUP = 64  # weights along the inputs that share a scale


@dataclass(frozen=True)
class Damage:
    """Which weights lose how much. Bits and noise fall on the parts named (audio, lm); 0 bits leaves them alone."""

    bits: int = 0
    noise: float = 0.0  # standard deviation, in those of the tensor
    dropped: tuple[int, ...] = ()  # LM layers
    parts: tuple[str, ...] = ("audio", "lm")
    seed: int = 0

    def __str__(self) -> str:
        said = [f"{self.bits} bits in {'+'.join(self.parts)}"] if self.bits else []
        said += [f"noise {self.noise:.2f} in {'+'.join(self.parts)}"] if self.noise else []
        said += [f"without layers {', '.join(map(str, self.dropped))}"] if self.dropped else []
        return "; ".join(said) or "nothing"


def matrices(model: nn.Module, parts: Iterable[str]) -> Iterator[torch.Tensor]:
    """The weights of all linears and embeddings of the parts; positions and convolutions stay out."""
    folders = {"audio": ("audio_tower", "multi_modal_projector"), "lm": ("language_model",)}
    wanted = tuple(f for part in parts for f in folders[part])
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding) and "embed_positions" not in name and name.startswith(wanted):
            yield module.weight


def round_to_nearest(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Asymmetric min/max rounding in groups of 64 along the inputs."""
    out = torch.empty_like(weight)
    for start in range(0, weight.shape[1], GROUP):
        block = weight[:, start : start + GROUP]
        low, high = block.amin(1, keepdim=True), block.amax(1, keepdim=True)
        step = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
        out[:, start : start + GROUP] = ((block - low) / step).round() * step + low
    return out


def without_layers(model: Qwen2AudioForConditionalGeneration, dropped: Iterable[int]) -> None:
    """Removes LM layers in place and renumbers the rest, or the cache would look in the wrong place."""
    lm = model.language_model
    gone = set(dropped)
    kept = [layer for index, layer in enumerate(lm.model.layers) if index not in gone]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    lm.model.layers = nn.ModuleList(kept)
    for config in (lm.config, lm.model.config, model.config.text_config):
        config.num_hidden_layers = len(kept)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: len(kept)]


@torch.no_grad()
def damaged(model: Qwen2AudioForConditionalGeneration, damage: Damage) -> Qwen2AudioForConditionalGeneration:
    """A damaged copy."""
    model = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(damage.seed)
    for weight in matrices(model, damage.parts if damage.bits or damage.noise else ()):
        if damage.bits:
            weight.copy_(round_to_nearest(weight, damage.bits))
        if damage.noise:
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * damage.noise)
    if damage.dropped:
        without_layers(model, damage.dropped)
    return model


def assorted(count: int, layers: int, seed: int) -> list[Damage]:
    """Random damages of every kind, light to heavy."""
    rng = random.Random(seed)
    parts = (("audio", "lm"), ("lm",), ("audio",))

    def rounded() -> Damage:
        return Damage(bits=rng.choice([1, 2, 2, 2, 3, 3, 4]), parts=rng.choice(parts))

    def noisy() -> Damage:
        return Damage(noise=rng.uniform(0.1, 0.9), parts=rng.choice(parts), seed=rng.randrange(1000))

    def shorter() -> Damage:
        return Damage(dropped=tuple(sorted(rng.sample(range(layers), rng.choice([1, 1, 1, 2, 2, 3, 4])))))

    def both() -> Damage:
        gone = tuple(sorted(rng.sample(range(1, layers), rng.choice([1, 1, 2]))))
        return Damage(bits=rng.choice([2, 3, 3]), dropped=gone, parts=rng.choice(parts))

    kinds: list[Callable[[], Damage]] = [rounded, noisy, shorter, both]
    found: dict[str, Damage] = {}
    while len(found) < count:
        damage = kinds[len(found) % len(kinds)]()
        found[str(damage)] = damage
    return list(found.values())
