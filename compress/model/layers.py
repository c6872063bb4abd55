"""Dropping layers from a model in memory, and putting them back: modules, cache indices, config counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from compress.model.structure import Stack, Structure

_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers")


class LayerDropper:
    """The stacks of one model with all their layers, whichever of them are in place now."""

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.model = model
        self.structure = structure
        self._all = {s.name: list(_list_of(model, s)) for s in structure.stacks}
        self._types = {id(c): list(c.layer_types) for c in self._configs() if getattr(c, "layer_types", None)}
        self.dropped: frozenset[str] = frozenset()

    def set_dropped(self, names: Iterable[str]) -> None:
        """Leave out exactly these layers; all others come back."""
        dropped = frozenset(names)
        for stack in self.structure.stacks:
            keep = [i for i in range(stack.length) if f"{stack.name}.{i}" not in dropped]
            blocks = [self._all[stack.name][i] for i in keep]
            for position, block in enumerate(blocks):
                for module in block.modules():
                    if isinstance(getattr(module, "layer_idx", None), int):
                        module.layer_idx = position  # type: ignore[assignment]
            owner, _, name = stack.path.rpartition(".")
            setattr(self.model.get_submodule(owner), name, nn.ModuleList(blocks))
            self._count(stack, keep)
        self.dropped = dropped

    def _count(self, stack: Stack, keep: list[int]) -> None:
        """Make every config that counts this stack count what is left, or generation breaks."""
        before = stack.length - sum(n.rpartition(".")[0] == stack.name for n in self.dropped)
        owner: Any = getattr(self.model.get_submodule(stack.path.rpartition(".")[0]), "config", None)
        for config in self._configs():
            if type(config) is not type(owner):
                continue
            counts = [c for c in _COUNTS if getattr(config, c, None) == before]
            if {"encoder_layers", "decoder_layers"} <= set(vars(config)):
                other = "decoder_layers" if "encoder" in stack.path else "encoder_layers"
                counts = [c for c in counts if c != other and (c != "num_hidden_layers" or other[0] == "d")]
            for name in counts:
                setattr(config, name, len(keep))
            types = self._types.get(id(config))
            if types is not None and len(types) == stack.length:
                config.layer_types = [types[i] for i in keep]

    def _configs(self) -> list[Any]:
        found = {id(c): c for c in _configs_under(self.model.config)}
        for module in self.model.modules():
            config = getattr(module, "config", None)
            if config is not None and hasattr(config, "to_dict"):
                found |= {id(c): c for c in _configs_under(config)}
        return list(found.values())


def _list_of(model: nn.Module, stack: Stack) -> nn.ModuleList:
    module = model.get_submodule(stack.path)
    assert isinstance(module, nn.ModuleList)
    return module


def _configs_under(config: Any) -> Iterator[Any]:
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _configs_under(value)


def set_tensor(model: nn.Module, name: str, value: Any) -> None:
    """Put a tensor where a parameter is, whatever its shape; the module's own counts follow."""
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    module._parameters[last] = nn.Parameter(value, requires_grad=False)
    if last == "weight" and isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
