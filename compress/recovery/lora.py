"""Low-rank adapters through PEFT, over weights as they are decoded, or over bitsandbytes' NF4 where the level is NF4.

PEFT keeps B [outputs, r], A [r, inputs] and a scale, alpha / √r with rsLoRA; what is shipped is the product alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.bitsandbytes import import_bitsandbytes
from compress.errors import UserError

_INNER = "base_model.model."


@dataclass(frozen=True)
class AdapterShape:
    """Of the adapters. The published ones: r=64, alpha=128, rank-stabilised, without dropout."""

    rank: int = 64
    alpha: float = 128.0
    rank_stabilised: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 1024:
            raise UserError(f"adapters of rank {self.rank}: give 1 to 1024")


def all_linear(model: Any) -> list[str]:
    """Names of the linear modules that adapters go on: all but the output head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def to_nf4(model: Any, originals: Mapping[str, Tensor], compute: torch.dtype) -> None:
    """Linear modules, by name, as bitsandbytes' NF4 with double quantisation of the weights before compression."""
    bnb = import_bitsandbytes()
    for name, weight in originals.items():
        old = model.get_submodule(name)
        new = bnb.nn.Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=compute,
            compress_statistics=True,
            quant_type="nf4",
        )
        new.weight = bnb.nn.Params4bit(
            weight.contiguous(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=new
        )
        new.bias = old.bias
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, new.to(old.weight.device))


def add_adapters(
    model: Any, modules: Sequence[str], shape: AdapterShape, seed: int = 0
) -> tuple[Any, dict[str, nn.Parameter]]:
    """The model inside PEFT's, and the parameters of its adapters by name."""
    import_bitsandbytes()  # before peft does
    from peft import LoraConfig, get_peft_model

    if not modules:
        raise UserError("this model has no linear modules for adapters")
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        use_rslora=shape.rank_stabilised,
        lora_dropout=0.0,
        target_modules=list(modules),
        bias="none",
    )
    torch.manual_seed(seed)  # A begins with random values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, config)
    parameters = {name: value for name, value in wrapped.named_parameters() if ".lora_" in name}
    for value in parameters.values():
        value.data = value.data.float()
    return wrapped, parameters


def products(wrapped: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """A [r, inputs] and B [outputs, r] of each module by its name in the model, PEFT's scale taken into B."""
    by_name = {}
    for name, module in wrapped.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
            scale = module.scaling["default"]
            root = (
                float(abs(scale)) ** 0.5
            )  # shared out, so that both are of like size for the level they are stored at
            by_name[name.removeprefix(_INNER)] = ((a * root).float().cpu(), (b * (scale / root)).float().cpu())
    return by_name
