"""From what was trained to what an artifact holds: norms and biases as they are, adapters and matrices encoded.

A candidate in memory has lost its dropped layers and counts the others anew; names here are those of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.artifact.adapters import Adapter, encode_adapter
from compress.calibration.hessians import statistics
from compress.codecs import codec
from compress.codecs.grid.scales import can_rescale, rescaled
from compress.codecs.nf4 import BLOCK
from compress.codecs.statistics import Statistics
from compress.errors import UserError
from compress.model.source import Source
from compress.model.structure import Structure, Unit
from compress.policy.policy import Policy
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, variant_payload


def names_now(structure: Structure, dropped: tuple[str, ...]) -> dict[str, str]:
    """Name in the whole model -> name in the model without the dropped layers, of every parameter that stays."""
    tensors = (*structure.unquantized, *(t for unit in structure.units.values() for t in unit.tensors))
    names = {}
    for name in tensors:
        now: str | None = name
        for stack in structure.stacks:
            if name.startswith(stack.path + "."):
                index, _, rest = name[len(stack.path) + 1 :].partition(".")
                gone = sum(f"{stack.name}.{i}" in dropped for i in range(int(index)))
                stays = f"{stack.name}.{index}" not in dropped
                now = f"{stack.path}.{int(index) - gone}.{rest}" if stays else None
        if now is not None:
            names[name] = now
    return names


def trainable_kept(source: Source, policy: Policy) -> list[str]:
    """Norms and biases, by their names in the whole model: kept tensors of one dimension."""
    parameters = dict(source.meta_model().named_parameters())
    here = names_now(source.structure, policy.dropped)
    return [name for name in source.structure.unquantized if name in here and parameters[name].dim() == 1]


def kept_of(source: Source, model: Any, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Trained kept tensors in the format the checkpoint has them in; `names` as from `names_now`."""
    return {
        name: model.get_parameter(now).detach().cpu().to(source.tensor(name).dtype).clone()
        for name, now in names.items()
    }


def scaled_units(source: Source, policy: Policy, store: Store, factors: Mapping[str, float]) -> dict[str, bytes]:
    """Payloads of the units whose matrices got factors (by tensor name; none is 1)."""
    payloads = {}
    for unit in policy.remaining_units(source.structure):
        mine = [factors.get(name, 1.0) for name in unit.tensors]
        if any(name in factors for name in unit.tensors):
            payloads[unit.name] = rescaled(payload_of(source, policy, unit, store), policy.levels[unit.name], mine)
    return payloads


def scalable(source: Source, policy: Policy) -> list[str]:
    """Tensors whose level keeps a scale that can be replaced."""
    units = [u for u in policy.remaining_units(source.structure) if can_rescale(policy.levels[u.name]) and u.layer]
    return [name for unit in units for name in unit.tensors]


def payload_of(source: Source, policy: Policy, unit: Unit, store: Store) -> bytes:
    wanted = EncodeOptions(policy.vocabulary, policy.calibration)
    return variant_payload(source, unit, policy.levels[unit.name], store, wanted)


def nf4_originals(source: Source, policy: Policy) -> dict[str, Tensor]:
    """Weights before compression of the units at NF4, by module in the model as it is now: for bitsandbytes.

    Only rows of whole blocks: bitsandbytes 0.50 gives other values back on a CPU where a block goes from one row into
    the next. Such matrices stay as they are decoded, which are the values NF4 means.
    """
    here = names_now(source.structure, policy.dropped)
    linear = {n for n, v in source.meta_model().named_modules() if isinstance(v, nn.Linear)}
    return {
        here[name].removesuffix(".weight"): source.tensor(name)
        for unit in policy.remaining_units(source.structure)
        if policy.levels[unit.name] == "nf4" and unit.name not in source.replaced
        for name in unit.tensors
        if name.removesuffix(".weight") in linear and source.tensor(name).shape[1] % BLOCK == 0
    }


def adapters_of(
    structure: Structure,
    policy: Policy,
    widths: Mapping[str, tuple[int, ...]],
    products: Mapping[str, tuple[Tensor, Tensor]],
    level: str,
) -> dict[str, Adapter]:
    """Adapters by unit from A and B by module (names of the model as it is now). Units trained in part get zeros.

    `widths` are the shapes of the linear modules' weights: a pruned FFN is narrower than its unit.
    """
    here = names_now(structure, policy.dropped)
    adapters = {}
    for unit in policy.remaining_units(structure):
        modules = [here[name].removesuffix(".weight") for name in unit.tensors]
        mine = [products.get(module) for module in modules]
        ranks = {len(pair[0]) for pair in mine if pair is not None}
        if not ranks:
            continue
        if len(ranks) > 1:
            raise UserError(f"adapters of several ranks in unit {unit.name}: give them one")
        rank, shapes, thin = ranks.pop(), [], []
        for module, pair in zip(modules, mine, strict=True):
            shape = widths[module]
            shapes.append(shape)
            if pair is None:
                thin += [torch.zeros(rank, shape[1]), torch.zeros(rank, shape[0])]
            else:
                thin += [pair[0], pair[1].T.contiguous()]
        adapters[unit.name] = encode_adapter(unit.name, level, rank, thin, shapes)
    return adapters


def encoded_again(source: Source, policy: Policy, model: Any, store: Store | None) -> dict[str, bytes]:
    """Every unit of a fully trained model at the policy's levels, with the calibration the policy names."""
    here = names_now(source.structure, policy.dropped)
    payloads = {}
    for unit in policy.remaining_units(source.structure):
        level = policy.levels[unit.name]
        weights = [model.get_parameter(here[name]).detach().cpu() for name in unit.tensors]
        if policy.vocabulary == "full" and any(
            tuple(w.shape) != shape for w, shape in zip(weights, unit.shapes, strict=True)
        ):
            raise UserError(f"unit {unit.name} is pruned ({level}) and cannot be encoded again: train adapters instead")
        weights = [
            weight.to(source.dtype) if level.startswith(("nf4", "raw")) else weight.float() for weight in weights
        ]
        known: list[Statistics | None] = [None] * len(weights)
        chosen = codec(level)
        if policy.calibration and chosen.uses_hessian and store is not None:
            known = list(statistics(store.root, policy.calibration, unit))
        if policy.vocabulary != "full" and unit.kind in {"embedding", "head"}:
            known = [None] * len(weights)
        payloads[unit.name] = chosen.encode(weights, known, unit.roles)
    return payloads
