"""Layer dropping in memory, and back: modules, cache indices, counts in configs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from compress.model.structure import Stack, Structure

_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers")


class LayerDropper:
    """Holds all layers of one model and sets which of them are in place."""

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.model = model
        self.structure = structure
        self._blocks = {stack.name: list(model.get_submodule(stack.path).children()) for stack in structure.stacks}
        self._types = {id(c): list(c.layer_types) for c in self._configs() if getattr(c, "layer_types", None)}
        self.dropped: frozenset[str] = frozenset()

    def set_dropped(self, names: Iterable[str]) -> None:
        """Leave out exactly these layers; put all others in place."""
        dropped = frozenset(names)
        for stack in self.structure.stacks:
            remaining = [i for i in range(stack.length) if f"{stack.name}.{i}" not in dropped]
            blocks = [self._blocks[stack.name][i] for i in remaining]
            for position, block in enumerate(blocks):
                for module in block.modules():
                    if isinstance(getattr(module, "layer_idx", None), int):
                        module.layer_idx = position  # type: ignore[assignment]
            owner, _, name = stack.path.rpartition(".")
            setattr(self.model.get_submodule(owner), name, nn.ModuleList(blocks))
            self._set_counts(stack, remaining)
        self.dropped = dropped

    def _set_counts(self, stack: Stack, remaining: list[int]) -> None:
        """Set the layer counts of every config of this stack, on which generation depends."""
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
                setattr(config, name, len(remaining))
            types = self._types.get(id(config))
            if types is not None and len(types) == stack.length:
                config.layer_types = [types[i] for i in remaining]

    def _configs(self) -> list[Any]:
        owned = [getattr(module, "config", None) for module in self.model.modules()]  # the model itself comes first
        configs = [c for config in owned if hasattr(config, "to_dict") for c in _configs_under(config)]
        return list({id(c): c for c in configs}.values())


def _configs_under(config: Any) -> Iterator[Any]:
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _configs_under(value)
