"""Damaged copies of the model (rounding, noise, dropped layers); the COMET stand-in is trained on their outputs."""

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
class ModelDamage:
    """Bits and noise apply to the named parts (audio, lm); 0 bits means no rounding."""

    bits: int = 0
    noise: float = 0.0  # standard deviation, relative to that of the tensor
    dropped: tuple[int, ...] = ()  # LM layers
    parts: tuple[str, ...] = ("audio", "lm")
    seed: int = 0

    def __str__(self) -> str:
        effects = [f"{self.bits} bits in {'+'.join(self.parts)}"] if self.bits else []
        effects += [f"noise {self.noise:.2f} in {'+'.join(self.parts)}"] if self.noise else []
        effects += [f"without layers {', '.join(map(str, self.dropped))}"] if self.dropped else []
        return "; ".join(effects) or "nothing"


def matrices(model: nn.Module, parts: Iterable[str]) -> Iterator[torch.Tensor]:
    """The weights of all linears and embeddings of the parts; positions and convolutions are left out."""
    modules = {"audio": ("audio_tower", "multi_modal_projector"), "lm": ("language_model",)}
    prefixes = tuple(name for part in parts for name in modules[part])
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding) and "embed_positions" not in name and name.startswith(prefixes):
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


def drop_layers(model: Qwen2AudioForConditionalGeneration, dropped: Iterable[int]) -> None:
    """Removes LM layers in place and renumbers the others, whose numbers index the KV cache."""
    lm = model.language_model
    removed = set(dropped)
    remaining = [layer for index, layer in enumerate(lm.model.layers) if index not in removed]
    for index, layer in enumerate(remaining):
        layer.self_attn.layer_idx = index
    lm.model.layers = nn.ModuleList(remaining)
    for config in (lm.config, lm.model.config, model.config.text_config):
        config.num_hidden_layers = len(remaining)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: len(remaining)]


@torch.no_grad()
def damaged_copy(model: Qwen2AudioForConditionalGeneration, damage: ModelDamage) -> Qwen2AudioForConditionalGeneration:
    """A damaged copy."""
    model = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(damage.seed)
    for weight in matrices(model, damage.parts if damage.bits or damage.noise else ()):
        if damage.bits:
            weight.copy_(round_to_nearest(weight, damage.bits))
        if damage.noise:
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * damage.noise)
    if damage.dropped:
        drop_layers(model, damage.dropped)
    return model


def random_damages(count: int, layers: int, seed: int) -> list[ModelDamage]:
    """Distinct random damages of every kind, light to heavy."""
    rng = random.Random(seed)
    parts = (("audio", "lm"), ("lm",), ("audio",))

    def rounded() -> ModelDamage:
        return ModelDamage(bits=rng.choice([1, 2, 2, 2, 3, 3, 4]), parts=rng.choice(parts))

    def noisy() -> ModelDamage:
        return ModelDamage(noise=rng.uniform(0.1, 0.9), parts=rng.choice(parts), seed=rng.randrange(1000))

    def shorter() -> ModelDamage:
        return ModelDamage(dropped=tuple(sorted(rng.sample(range(layers), rng.choice([1, 1, 1, 2, 2, 3, 4])))))

    def both() -> ModelDamage:
        dropped = tuple(sorted(rng.sample(range(1, layers), rng.choice([1, 1, 2]))))
        return ModelDamage(bits=rng.choice([2, 3, 3]), dropped=dropped, parts=rng.choice(parts))

    kinds: list[Callable[[], ModelDamage]] = [rounded, noisy, shorter, both]
    damages: dict[str, ModelDamage] = {}
    while len(damages) < count:
        damage = kinds[len(damages) % len(kinds)]()
        damages[str(damage)] = damage
    return list(damages.values())
