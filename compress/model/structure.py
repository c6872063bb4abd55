"""The structure of a model: which tensors form which unit, and which units form which layer.

It is read from the module tree: a stack is a `ModuleList` of blocks of one class; in a block the matrices under a child
named or typed as attention are attention, and all others are MLP; the input embedding and the output head are those
that the model's own getters return. No module path of a particular model is written here, so Qwen2-Audio, Qwen, Llama,
Cohere and Whisper, in transformers 4.57 and 5.10, are all read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from torch import Tensor, nn

from compress.errors import UserError

T = TypeVar("T")
REST = ""  # the group of unquantized tensors outside all layers


@dataclass(frozen=True)
class Unit:
    """The smallest part with a decision of its own. `tensors` (matrices) are encoded; `unquantized` ones are biases."""

    name: str
    kind: str  # attention, mlp, embedding, head, projector or conv
    layer: str | None
    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    unquantized: tuple[str, ...]
    parameters: int  # biases included
    weights: int  # elements of the encoded tensors alone, the divisor of bits per weight

    @property
    def roles(self) -> tuple[str, ...]:
        """The name of each tensor inside the unit: gate_proj, fc1, … or just weight."""
        return tuple(name.removesuffix(".weight").rpartition(".")[2] for name in self.tensors)


@dataclass(frozen=True)
class Layer:
    """A group of units that are dropped together, with the unquantized tensors that go with them."""

    name: str
    stack: str
    index: int
    units: tuple[str, ...]
    unquantized: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class Stack:
    """A list of layers in the module tree."""

    name: str
    path: str
    length: int


@dataclass(frozen=True)
class Structure:
    """Units and layers of one model, in the order in which an artifact holds them."""

    units: dict[str, Unit]
    layers: tuple[Layer, ...]
    stacks: tuple[Stack, ...]
    unquantized: tuple[str, ...]
    parameters: int
    tied: bool  # head and embedding are one tensor
    vocabulary: int  # rows of the input embedding; 0 without one

    @cached_property
    def by_layer(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Unquantized tensors by layer name, and under REST those outside all layers."""
        groups = {layer.name: layer.unquantized for layer in self.layers}
        inside = {name for names in groups.values() for name in names}
        return {REST: tuple(name for name in self.unquantized if name not in inside), **groups}

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every tensor of the model, the unquantized ones first."""
        return (*self.unquantized, *(name for unit in self.units.values() for name in unit.tensors))

    def unit(self, name: str) -> Unit:
        return _look_up(self.units, "unit", name)

    def layer(self, name: str) -> Layer:
        return _look_up(self.by_layer, "layer", name)


def read_structure(model: nn.Module) -> Structure:
    """The structure of a model, with weights or on the meta device."""
    reader = _Reader(model)
    units = reader.units()
    encoded = {name for unit in units for name in unit.tensors}
    unquantized = tuple(name for name in reader.parameters if name not in encoded)
    return Structure(
        units={unit.name: unit for unit in units},
        layers=reader.layers(units, unquantized),
        stacks=tuple(reader.stacks),
        unquantized=unquantized,
        parameters=_count(reader.parameters.values()),
        tied=reader.head is not None and reader.head is reader.embedding,
        vocabulary=0 if reader.embedding is None else reader.embedding.shape[0],
    )


class _Reader:
    """Reads the units and layers of one model."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = dict(model.named_parameters())  # tied tensors appear once, under their first name
        self.modules = dict(model.named_modules())
        self.embedding, self.head = _embedding_and_head(model)
        self.stacks: list[Stack] = []
        for path, module in self.modules.items():
            if _is_stack(module) and not any(path.startswith(stack.path + ".") for stack in self.stacks):
                self.stacks.append(Stack(self._stack_name(path), path, sum(1 for _ in module.children())))

    def _stack_name(self, path: str) -> str:
        children = list(self.modules[path.rpartition(".")[0]].children())
        if any(isinstance(c, nn.Embedding) and c.weight is self.embedding for c in children):
            base = "lm"
        elif any(isinstance(c, nn.Conv1d) for c in children):
            base = "audio"
        elif any(isinstance(c, nn.Conv2d) for c in children):
            base = "vision"
        else:
            parts = [p for p in path.split(".") if p not in {"model", "layers", "blocks", "h"}]
            base = parts[-1] if parts else "stack"
        names = [stack.name for stack in self.stacks]
        number = sum(name.startswith(base) for name in names) + 1
        name = base
        while name in names:
            name = f"{base}{number}"
            number += 1
        return name

    def units(self) -> list[Unit]:
        """In the order of the model, the head last, and in a layer attention before MLP. Versions of transformers
        differ in where they register the head, and an artifact must have one order."""
        tensors: dict[str, list[str]] = {}
        for name in self.parameters:
            unit = self._unit_of(name)
            if unit is not None:
                tensors.setdefault(unit, []).append(name)
        units = [self._unit(name, names) for name, names in tensors.items()]
        order = list(dict.fromkeys(unit.layer or unit.name for unit in units))
        return sorted(units, key=lambda u: (u.name == "head", order.index(u.layer or u.name), u.name))

    def _unit_of(self, tensor: str) -> str | None:
        """The unit of a matrix or of the bias next to one; None for any other tensor."""
        value = self.parameters[tensor]
        owner = self.modules[tensor.rpartition(".")[0]]
        if value is self.embedding:
            return "embedding"
        if value is self.head:
            return "head"
        for stack in self.stacks:
            if tensor.startswith(stack.path + "."):
                index, _, rest = tensor[len(stack.path) + 1 :].partition(".")
                if value.dim() < 2 and not any(p.dim() >= 2 for p in owner.parameters(recurse=False)):
                    return None
                return f"{stack.name}.{index}.{self._attention_or_mlp(f'{stack.path}.{index}', rest)}"
        if isinstance(owner, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            for stack in self.stacks:
                parent = stack.path.rpartition(".")[0]
                if tensor.startswith(parent + ".") or not parent:
                    return f"{stack.name}.conv"
            return "conv"
        if isinstance(owner, nn.Linear):
            return "head" if owner.weight is self.head else "projector"
        return None

    def _attention_or_mlp(self, block: str, tensor: str) -> str:
        child = tensor.partition(".")[0]
        module = self.modules[f"{block}.{child}"] if "." in tensor else None
        attends = "att" in child.lower() or (module is not None and "attention" in type(module).__name__.lower())
        return "attention" if attends else "mlp"

    def _unit(self, name: str, tensors: list[str]) -> Unit:
        layer, _, kind = name.rpartition(".")
        matrices = [t for t in tensors if self.parameters[t].dim() >= 2]
        return Unit(
            name=name,
            kind=kind,
            layer=layer if kind in {"attention", "mlp"} else None,
            tensors=tuple(matrices),
            shapes=tuple(tuple(self.parameters[t].shape) for t in matrices),
            unquantized=tuple(t for t in tensors if t not in matrices),
            parameters=_count(self.parameters[t] for t in tensors),
            weights=_count(self.parameters[t] for t in matrices),
        )

    def layers(self, units: list[Unit], unquantized: tuple[str, ...]) -> tuple[Layer, ...]:
        layers = []
        for stack in self.stacks:
            for index in range(stack.length):
                name, prefix = f"{stack.name}.{index}", f"{stack.path}.{index}."
                layers.append(
                    Layer(
                        name=name,
                        stack=stack.name,
                        index=index,
                        units=tuple(unit.name for unit in units if unit.layer == name),
                        unquantized=tuple(t for t in unquantized if t.startswith(prefix)),
                        parameters=_count(v for t, v in self.parameters.items() if t.startswith(prefix)),
                    )
                )
        return tuple(layers)


def _embedding_and_head(model: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The weights of the input embedding and of the output head, where the model has them."""
    try:
        first = model.get_input_embeddings()  # type: ignore[operator]
        last = model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None, None
    embedding = first.weight if isinstance(first, nn.Embedding) else None
    return embedding, None if last is None else last.weight


def _is_stack(module: nn.Module) -> bool:
    """A list of blocks of one class, each holding more than one matrix."""
    if not isinstance(module, nn.ModuleList) or len(module) == 0:
        return False
    alike = len({type(block) for block in module}) == 1
    return alike and all(sum(p.dim() >= 2 for p in block.parameters()) > 1 for block in module)


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


def _look_up(table: Mapping[str, T], what: str, name: str) -> T:
    if name in table:
        return table[name]
    listed = ", ".join(list(table)[:6]) + (f", … ({len(table)} in total)" if len(table) > 6 else "")
    raise UserError(f"no {what} {name!r} in this model; it has {listed}")
